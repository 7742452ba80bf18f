"""From the value of a run to its result, on one device: build, train, evaluate, and measure what a step costs."""
