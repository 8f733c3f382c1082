"""What figures and the explorer compute: perturbed capsules, coupling maps, rotated images, calibration and more."""
