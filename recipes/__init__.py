"""What a file says of how its image was made: ours and other tools', written, read and shown.

Nothing here imports torch.
"""
