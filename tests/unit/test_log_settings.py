"""From a URL to the settings of a log."""

import pytest

from features.public_url import public_text, public_url
from streaming.log import LogSettingsError, open_log
from streaming.log.log_url import KafkaSettings, SqliteSettings, log_settings

SECRETS = {"CLICKTIDE_KAFKA_USERNAME": "ann", "CLICKTIDE_KAFKA_PASSWORD": "s3cret"}


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("run/log.db", "run/log.db"),
        ("/var/log.db", "/var/log.db"),
        ("sqlite:///run/log.db", "run/log.db"),
        ("sqlite:////var/log.db", "/var/log.db"),
    ],
)
def test_a_path_or_sqlite_url_is_the_embedded_log(url, path):
    assert log_settings(url, {}) == SqliteSettings(path=path)


def test_settings_of_the_url_are_typed():
    found = log_settings("kafka://a:9092,b:9093?timeout_s=2.5&replication=3&compression=gzip", {})
    assert found == KafkaSettings(
        servers=("a:9092", "b:9093"), timeout_s=2.5, replication=3, compression="gzip"
    )
    assert log_settings("sqlite:///x?sync=full&lease_s=5", {}).sync == "full"


def test_sasl_over_tls_takes_its_secrets_from_the_environment_and_never_shows_them():
    url = "kafka://a:9092?security=sasl_ssl&mechanism=SCRAM-SHA-256&ca_file=ca.pem"
    found = log_settings(url, SECRETS)
    options = found.connection()
    assert options["security_protocol"] == "SASL_SSL"
    assert options["sasl_mechanism"] == "SCRAM-SHA-256"
    assert (options["sasl_plain_username"], options["sasl_plain_password"]) == ("ann", "s3cret")
    assert (options["ssl_cafile"], options["ssl_check_hostname"]) == ("ca.pem", True)
    assert "s3cret" not in repr(found)


def test_tls_with_a_client_certificate_needs_no_sasl():
    url = "kafka://a:9092?security=ssl&cert_file=c.pem&key_file=k.pem"
    options = log_settings(url, {"CLICKTIDE_KAFKA_KEY_PASSWORD": "pw"}).connection()
    assert (options["ssl_certfile"], options["ssl_keyfile"]) == ("c.pem", "k.pem")
    assert options["ssl_password"] == "pw"
    assert "sasl_mechanism" not in options


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://a:1", "unknown scheme 'redis'"),
        ("kafka://", "'' is not host:port"),
        ("kafka://a", "'a' is not host:port"),
        ("kafka://a:1,b", "'b' is not host:port"),
        ("kafka://a:1?timeout=5", "unknown field `timeout`"),
        ("kafka://a:1?timeout_s=soon", "timeout_s"),
        ("kafka://a:1?security=tls", "Invalid enum value 'tls'"),
        ("kafka://a:1?prefix=a/b", "prefix"),
        ("kafka://a:1?nonsense", "is not name=value"),
        ("kafka://a:1?security=sasl_ssl", "SASL without user name and password"),
        ("sqlite://run/log.db", "no path after sqlite:///"),
        ("sqlite:///log.db?sync=off", "Invalid enum value 'off'"),
    ],
)
def test_a_wrong_url_is_refused_with_what_to_write(url, said):
    with pytest.raises(LogSettingsError) as caught:
        log_settings(url, {})
    assert said in str(caught.value)
    assert "Fix: " in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "kafka://ann:s3cret@a:1",
        "kafka://ann:s3cret/x@a:1",
        "kafka://a:1?password=s3cret",
        "kafka://a:1?sasl_password=s3cret",
        "kafka://a:1?password=s3cret&broken",
    ],
)
def test_a_secret_in_the_url_is_refused_and_not_repeated(url):
    with pytest.raises(LogSettingsError) as caught:
        log_settings(url, {})
    assert "s3cret" not in str(caught.value)


def test_a_file_that_is_no_log_is_refused(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("not a database, but long enough to look at" * 100)
    with pytest.raises(LogSettingsError, match="not a usable event log"):
        open_log(str(path))
    with pytest.raises(LogSettingsError, match="not a usable event log"):
        open_log(str(tmp_path / "absent" / "log.db"))


# --- No secret of a URL is shown, wherever in it the secret stands.


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
