"""What a text may be: numbers, prompts, names of files; and how a mistake is told."""
