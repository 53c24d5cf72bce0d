"""What happens once a command line is understood: the run, its batches, its files."""
