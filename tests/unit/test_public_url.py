"""No secret of a URL is shown, wherever in it the secret stands."""

import pytest

from features.public_url import public_text, public_url


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://host:6379/0", "redis://host:6379/0"),
        ("redis://:s3cret@host:6379/0", "redis://host:6379/0"),
        ("rediss+cluster://me:s3cret@a:1,b:2", "rediss+cluster://a:1,b:2"),
        ("redis://me:s3cret@[::1]:6379", "redis://[::1]:6379"),
        ("unix:///tmp/x?db=zero&password=s3cret", "unix:///tmp/x?db=zero&password=***"),
        ("redis://h?PASSWORD=s3cret&username=s3cret", "redis://h?PASSWORD=***&username=***"),
        ("redis://h/0?password=a@s3cret", "redis://h/0?password=***"),
        ("redis://h:notaport?password=s3cret", "redis://***"),
        ("redis://me:s3/c@s3cret@h", "redis://h"),
        ("redis://me:s3?s3cret@h", "redis://***"),
        ("redis://:s3#s3cret", "redis://***"),
        ("kafka://a:1,b:2?security=ssl&sasl_password=s3cret",
         "kafka://a:1,b:2?security=ssl&sasl_password=***"),
        ("kafka://a:1?key_file=k.pem&key_password=s3cret",
         "kafka://a:1?key_file=k.pem&key_password=***"),
        ("postgresql://me:s3cret@db/mlflow", "postgresql://db/mlflow"),
        ("sqlite:////srv/a b@c/mlflow.db", "sqlite:////srv/a b@c/mlflow.db"),
        ("run/log.db", "run/log.db"),
        ("", ""),
    ],
)  # fmt: skip
def test_a_url_is_shown_without_its_secrets(url, shown):
    assert public_url(url) == shown
    assert "s3cret" not in public_text(f"API request to '{url}' failed")
