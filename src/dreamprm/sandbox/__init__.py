"""A generated world of visual reasoning: the demo's data, and a testbed in which the truth is known.

Read in this order: ``scenes`` (what is drawn), ``scene_questions`` (what is asked), ``reasoner`` (who
answers, and with which errors), ``domains`` (15 training sets of planted quality), ``suites`` (held-out
candidates), ``corpus`` and ``base_model`` (a small vision-language model that can read but not judge),
``generate`` (writes all of this to files).
"""
