"""The settings of a training."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TrainingConfig:
    """The settings of a training. With the architecture, the data and the seed they decide its outcome."""

    task: str  # a key of TASKS
    epochs: int
    batch_size: int
    lr: float  # Adam's learning rate at step 0; with one_cycle, its highest one
    lr_schedule: str  # a key of LR_SCHEDULES
    lr_decay: float  # factor per `lr_decay_steps` steps, or per epoch; 1 for none
    lr_decay_steps: int
    lr_floor: float  # the learning rate never falls below
    margin_weight: float  # of the margin loss, a sum over classes and a mean over images
    alpha: float  # weight of the reconstruction loss, a sum over pixels and a mean over images
    alpha_schedule: str  # a key of ALPHA_SCHEDULES
    decoded_share: float  # share of a batch that is reconstructed; its mean loss counts for the whole batch
    reconstruction: str  # a key of RECONSTRUCTION_LOSSES
    max_shift: int  # largest shift of a training image in x and in y, in pixels
    flip: bool  # exchange left and right in half of the training images, drawn anew each epoch
    rotation: float  # largest rotation of a training image, in degrees; 0 for none
    rotation_share: float  # share of the training images that is rotated
    squeeze: float  # largest share of its width that a training image loses; 0 for none
    scale: float  # largest share by which a training image becomes larger or smaller; 0 for none
    erase: int  # side of the square that is erased from each training image, in pixels; 0 for none
    brightness: float  # largest change of a training image's brightness, in grey levels of 255; 0 for none
    brightness_change: str  # a key of BRIGHTNESS_CHANGES
    contrast: tuple[float, float]  # lowest and highest factor on a training image's contrast; (1, 1) for none
    clip_pixels: bool  # limit pixels to 0 and 1 after these changes; what the decoder is to reconstruct always is
    validation: float  # share of the training images that is held out for validation; 0 for none
    precision: str  # a key of PRECISIONS; capsules and losses are in float32 with each of them
