from cli.resolve import default_model
from cli.scripts import CFG
from models import checkpoints


def test_default_model_is_the_large_one_where_it_is_there(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "CHECKPOINTS", tmp_path)
    name, note = default_model(CFG, None)
    assert (name, "--model cc12m_1_cfg" in note) == ("emoji", True)
    (tmp_path / "cc12m_1_cfg.safetensors").touch()
    name, note = default_model(CFG, None)
    assert (name, "--model emoji" in note) == ("cc12m_1_cfg", True)
