"""What capsules see: reconstructions of moved capsules, coupling maps, pictures turned round."""
