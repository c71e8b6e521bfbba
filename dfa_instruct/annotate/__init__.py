"""Writing what is said of a face before any question is asked: the DF-D, DF-C and AD annotations."""
