from cli.scripts import CFG
from jobs.resolve import default_model
from models import checkpoints


def test_default_model_is_the_large_one_where_it_is_there(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "CHECKPOINTS", tmp_path)
    assert default_model(CFG, None) == "emoji"
    (tmp_path / "cc12m_1_cfg.safetensors").touch()
    assert default_model(CFG, None) == "cc12m_1_cfg"
