"""A kernel's cache folder is named after all that the kernel is made of."""

import features.kernel_folder as folders


def test_it_changes_with_a_file_that_the_kernel_imports_and_with_no_other(tmp_path, monkeypatch):
    room = tmp_path / "features"
    room.mkdir()
    (room / "kernel.py").write_text("from features.parts import (\n    part,\n)\n")
    (room / "parts.py").write_text("from features import constants\n")
    (room / "constants.py").write_text("SIZE = 1\n")
    (room / "other.py").write_text("SIZE = 1\n")
    monkeypatch.setattr(folders, "_ROOT", tmp_path)
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    folders._writable_folder.cache_clear()
    folders._module_file.cache_clear()
    try:
        first = folders.kernel_folder([room / "kernel.py"])
        (room / "other.py").write_text("SIZE = 2\n")
        assert folders.kernel_folder([room / "kernel.py"]) == first
        (room / "constants.py").write_text("SIZE = 2\n")
        assert folders.kernel_folder([room / "kernel.py"]) != first
    finally:
        folders._writable_folder.cache_clear()
        folders._module_file.cache_clear()
