"""What is good to know of jobs before they are drawn: a line of each kind for each text or size."""

from values.prompts import doubt

MOST = 5  # lines of a kind; a job file has many prompts


def of_jobs(jobs):
    """The remarks on Jobs, as lines; all of them safe to print."""
    asked = (prompt.text for job in jobs.all for prompt in job.image.prompts)
    return _some(doubt(text) for text in dict.fromkeys(asked))


def _some(lines):
    """Those of some lines that are not None: the first of them, and how many more there are."""
    lines = [line for line in dict.fromkeys(lines) if line]
    more = len(lines) - MOST
    return [*lines[:MOST], *([f"the same of {more} more"] if more > 0 else [])]
