"""What the bundled model can draw: emoji that differ from each other at a glance, on ten grounds.

A thing is called what stands first here; other words for it stand after a bar, and `train.render`
adds those of Unicode CLDR. `train.wide` has more things and grounds, for a run of your own.
"""

from dataclasses import dataclass, field

THINGS = {
    # faces
    "😀": "smiling face",
    "😂": "laughing face",
    "😍": "love face",
    "😎": "cool face",
    "😡": "angry face",
    "😱": "scared face",
    "🤖": "robot",
    "👻": "ghost|spook",
    "💀": "skull",
    "👽": "alien",
    # animals
    "🐱": "cat|kitty|kitten",
    "🐶": "dog|puppy|doggy",
    "🐭": "mouse",
    "🐰": "rabbit",
    "🦊": "fox",
    "🐼": "panda",
    "🐯": "tiger",
    "🦁": "lion",
    "🐷": "pig|piggy",
    "🐸": "frog",
    "🐵": "monkey",
    "🐔": "chicken",
    "🐧": "penguin",
    "🦉": "owl",
    "🦄": "unicorn",
    "🐢": "turtle",
    "🐙": "octopus",
    "🐠": "fish",
    "🐳": "whale",
    "🦀": "crab",
    "🦋": "butterfly",
    "🐞": "ladybug",
    "🐝": "bee",
    "🐘": "elephant",
    # food
    "🍎": "red apple",
    "🍏": "green apple",
    "🍊": "tangerine|orange fruit",
    "🍋": "lemon",
    "🍌": "banana",
    "🍉": "watermelon",
    "🍇": "grapes",
    "🍓": "strawberry",
    "🍒": "cherries",
    "🍍": "pineapple",
    "🍅": "tomato",
    "🥕": "carrot",
    "🌽": "corn",
    "🍄": "mushroom",
    "🧀": "cheese",
    "🥚": "egg",
    "🍔": "hamburger",
    "🍕": "pizza",
    "🍩": "doughnut",
    "🎂": "birthday cake|cake",
    "🍦": "ice cream",
    # hearts and shapes
    "❤️": "red heart|heart",
    "💙": "blue heart",
    "💚": "green heart",
    "💛": "yellow heart",
    "💜": "purple heart",
    "🖤": "black heart",
    "⭐": "star",
    # nature
    "🌹": "rose|red rose",
    "🌻": "sunflower",
    "🌷": "tulip",
    "🌵": "cactus",
    "🌴": "palm tree",
    "🌲": "pine tree",
    "🍀": "four leaf clover",
    "🌙": "moon|half moon",
    "🌈": "rainbow",
    "☁️": "cloud",
    "⚡": "lightning",
    "❄️": "snowflake",
    "🔥": "fire|flame",
    "💧": "droplet",
    "🌍": "earth",
    # objects
    "⚽": "soccer ball",
    "🏀": "basketball",
    "🎾": "tennis ball",
    "🎱": "pool 8 ball",
    "🎈": "balloon",
    "🎁": "gift",
    "🎸": "guitar",
    "📷": "camera",
    "📺": "television",
    "💡": "light bulb",
    "⏰": "alarm clock",
    "🔑": "key",
    "🔒": "lock",
    "🔔": "bell",
    "☂️": "umbrella",
    "✂️": "scissors",
    "👑": "crown",
    "🎩": "top hat",
    "💎": "gem",
    "💣": "bomb",
    "🏠": "house",
    "⚓": "anchor",
    # vehicles
    "🚗": "car|red car",
    "🚌": "bus",
    "🚲": "bicycle",
    "🚀": "rocket",
    "🚁": "helicopter",
    "⛵": "sailboat",
}

# What two CPU cores can learn to draw in an hour: few things, of simple shapes and colours.
CORE = (
    *("smiling face", "angry face", "ghost", "skull"),
    *("cat", "dog", "fox", "panda", "pig", "frog", "penguin"),
    *("red apple", "banana", "strawberry", "watermelon", "carrot", "mushroom", "hamburger"),
    *("red heart", "blue heart", "yellow heart"),
    *("star", "sunflower", "cactus", "rainbow", "fire"),
    *("soccer ball", "basketball", "balloon", "crown", "car", "rocket"),
)

GROUNDS = {
    "white": (250, 250, 250),
    "black": (20, 20, 20),
    "gray": (128, 128, 128),
    "red": (215, 40, 40),
    "orange": (250, 150, 30),
    "yellow": (250, 225, 70),
    "green": (50, 160, 70),
    "blue": (45, 95, 215),
    "purple": (130, 60, 170),
    "pink": (250, 165, 200),
}


@dataclass(frozen=True)
class Vocabulary:
    """What renders show, and how their captions say it.

    Args:
        things: emoji -> its name, with other words for it after bars.
        grounds: name -> colour (red, green, blue) in [0, 255].
        ground_words: name of a ground -> what else it is called.
        not_words: words of CLDR that stand for no thing.
        kinds: the share of each kind of image: one thing, a small one, two of it.
        small, two: ways to say the size and the number.
        plurals: of last words that do not follow the rules of `train.render.plural`.
    """

    things: dict[str, str]
    grounds: dict[str, tuple[int, int, int]]
    ground_words: dict[str, tuple[str, ...]] = field(default_factory=dict)
    not_words: frozenset[str] = frozenset()
    kinds: dict[str, float] = field(
        default_factory=lambda: {"plain": 0.88, "small": 0.06, "two": 0.06}
    )
    small: tuple[str, ...] = ("small",)
    two: tuple[str, ...] = ("two",)
    plurals: dict[str, str] = field(default_factory=dict)

    @property
    def names(self):
        """The names of the things."""
        return [words.partition("|")[0] for words in self.things.values()]


BUNDLED = Vocabulary(THINGS, GROUNDS)
