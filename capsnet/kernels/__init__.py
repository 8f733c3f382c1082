"""Fast implementations behind plain functions: routing without votes, and convolution in the Fourier domain."""
