"""`dreamprm search`: a generator and a scorer together look for one good chain of thought per question.

A method (methods/, pure plans) asks for continuations and is sent scored chains; the driver (driver.py)
serves many questions in rounds, from the journal (journal.py) or the generator and the scorer; search.py
writes the results as candidate records.
"""
