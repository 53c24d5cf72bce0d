"""From a command line and the lines of a job file to images to draw: options, files, batches.

Nothing here imports torch.
"""
