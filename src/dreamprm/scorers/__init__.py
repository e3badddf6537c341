"""What scores the steps of candidates: PRMs of ours, models of others, a critic or server asked by HTTP."""
