"""The check of ``make lint`` that no package's private names are used finds what there is."""

from private_names import foreign


def test_a_foreign_private_name_is_found(tmp_path):
    room = tmp_path / "serving"
    room.mkdir()
    (room / "one.py").write_text(
        "from kafka._parts import it\n"
        "from lite._mine import it\n"
        "class One:\n"
        "    def __init__(self, other):\n"
        "        self._mine = other._theirs\n"
        "        other._replaced = self._mine\n"
    )
    assert sorted((line, name) for _, line, name in foreign(tmp_path)) == [
        (1, "_parts"), (2, "_mine"), (5, "_theirs"), (6, "_replaced"),
    ]  # fmt: skip
