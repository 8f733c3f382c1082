"""How the learning rate and the weight of the reconstruction loss change over a training."""

import math
from collections.abc import Callable

from capsnet.training.training_config import TrainingConfig

RISING = 0.3  # share of one cycle in which the learning rate rises, and the factor it starts with: torch's OneCycleLR
FIRST_RATE = 1 / 25


def constant(alpha: float, epoch: int) -> float:
    """Return alpha in each epoch."""
    return alpha


def tanh_delayed(alpha: float, epoch: int) -> float:
    """Rise from nearly 0 to alpha, half of it at epoch 25 (the reference study)."""
    return alpha * (math.tanh(epoch / 8 - math.pi) + 1) / 2


def tanh(alpha: float, epoch: int) -> float:
    """Rise to alpha from the first epoch on, 76 % of it at epoch 16 (the reference study)."""
    return alpha * math.tanh(epoch / 16)


# The weight of the reconstruction loss in epoch 1, 2, ...
ALPHA_SCHEDULES: dict[str, Callable[[float, int], float]] = {
    "constant": constant,
    "tanh_delayed": tanh_delayed,
    "tanh": tanh,
}


def decaying(config: TrainingConfig, step: int, steps_an_epoch: int) -> float:
    """Decay by `lr_decay` per `lr_decay_steps` steps, continuously."""
    return config.lr * math.pow(config.lr_decay, step / config.lr_decay_steps)


def decaying_by_epochs(config: TrainingConfig, step: int, steps_an_epoch: int) -> float:
    """Decay by `lr_decay` after each epoch."""
    return config.lr * math.pow(config.lr_decay, step // steps_an_epoch)


def one_cycle(config: TrainingConfig, step: int, steps_an_epoch: int) -> float:
    """Rise along a cosine from a 25th of `lr` to `lr`, then fall along another to 0 (Smith and Topin 2019)."""
    done = step / (config.epochs * steps_an_epoch)
    if done < RISING:
        return config.lr * (1 - (1 - FIRST_RATE) * (1 + math.cos(math.pi * done / RISING)) / 2)
    return config.lr * (1 + math.cos(math.pi * (done - RISING) / (1 - RISING))) / 2


# The learning rate for the update after `step` updates, with `steps_an_epoch` updates an epoch.
LR_SCHEDULES: dict[str, Callable[[TrainingConfig, int, int], float]] = {
    "decay": decaying,
    "epochs": decaying_by_epochs,
    "one_cycle": one_cycle,
}
DEPENDS_ON_EPOCHS = {"one_cycle"}  # schedules with which a finished training cannot be continued for more epochs


def learning_rate(config: TrainingConfig, step: int, steps_an_epoch: int) -> float:
    """Return Adam's learning rate for the update after `step` updates, with `steps_an_epoch` updates an epoch."""
    return max(LR_SCHEDULES[config.lr_schedule](config, step, steps_an_epoch), min(config.lr, config.lr_floor))
