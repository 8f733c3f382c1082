"""Fast implementations: routing without stored votes, and convolution with large kernels."""
