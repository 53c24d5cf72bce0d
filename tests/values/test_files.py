import stat

import torch
from safetensors.torch import save_file

from train.data import replace_file
from values.files import write_whole


def test_files_of_safetensors_can_be_read_by_whom_the_umask_lets(tmp_path):
    (tmp_path / "plain").write_bytes(b"")
    usual = stat.S_IMODE((tmp_path / "plain").stat().st_mode)
    weights = {"a": torch.zeros(1)}
    write_whole(tmp_path / "a", lambda path: save_file(weights, path))
    replace_file(tmp_path / "b", lambda path: save_file(weights, path))
    for name in ("a", "b"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == usual
