"""A generated world of visual reasoning: the demo's data, and a measuring instrument whose truth is known.

Read in this order: ``scenes`` (what is drawn), ``questions`` (what is asked), ``reasoner`` (who answers,
with which errors), ``domains`` (15 training sets of planted quality), ``suites`` (held-out candidates),
``corpus`` and ``base_model`` (a small vision-language model that can read, not judge), ``generate``
(everything above to files).
"""
