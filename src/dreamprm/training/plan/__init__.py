"""`dreamprm plan`: what a training would need of memory and time, before it is started."""
