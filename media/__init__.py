"""Pictures: read and written, put in grids, on a page and in animations."""
