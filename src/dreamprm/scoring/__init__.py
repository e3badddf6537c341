"""`dreamprm score`: reads candidates or step records and writes them back with a scorer's log-odds."""
