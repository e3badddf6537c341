"""`dreamprm sample` and `dreamprm label`: from questions to chains of thought and Monte-Carlo step labels.

A question's work is a `Job` (jobs.py), which asks for rollouts and knows nothing of generators; the scheduler
(scheduler.py) brings them, from the journal (journal.py) or from the generator, and judges them; what comes
out is written by commands.py.
"""
