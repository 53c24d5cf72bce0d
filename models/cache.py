"""Where files are kept that can be made again."""

import os
from pathlib import Path

import platformdirs


def cache_folder(kind):
    """The folder for files of a kind, by the platform's convention; None: there is no such place.

    The environment's V_DIFFUSION_CACHE names another folder for all kinds.

    Args:
        kind: the name of the subfolder, such as "embeddings". It may not exist yet.
    """
    try:
        if own := os.environ.get("V_DIFFUSION_CACHE"):
            return Path(own).expanduser() / kind
        return platformdirs.user_cache_path("v-diffusion", appauthor=False, opinion=False) / kind
    except RuntimeError:  # the user has no home folder
        return None
