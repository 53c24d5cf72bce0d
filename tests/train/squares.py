"""What the squares of the `squares` fixture are captioned with."""

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 60), "blue": (40, 60, 220), "white": (250,) * 3}
