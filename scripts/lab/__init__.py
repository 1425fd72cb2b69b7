"""What the checks and the benchmark share: proxies to start, and what /proc says about them."""
