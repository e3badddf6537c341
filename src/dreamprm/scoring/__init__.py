"""`dreamprm score`: files of candidates or step records in, the same with a scorer's log-odds out."""
