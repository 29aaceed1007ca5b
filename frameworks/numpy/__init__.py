"""NumPy, the referee: float64, backpropagation by hand. It says who is right when two frameworks disagree."""
