"""`dreamprm sample` and `dreamprm label`: from questions to chains of thought and Monte-Carlo step labels.

A question's work is a `Job` (jobs.py), which requests rollouts and knows nothing about generators; the
scheduler (scheduler.py) supplies them, from the journal (journal.py; by content, rollout_content.py) or the
generator, and judges them; commands.py writes the results.
"""
