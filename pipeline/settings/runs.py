"""What a run may be in params.yaml."""

from dataclasses import fields
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from pipeline.settings.checked import Checked, Count, Factors, Name, NotNegative, Positive, Seeds, Share, Widths

if TYPE_CHECKING:
    from capsnet.model import ModelConfig
    from capsnet.training import TrainingConfig


class Run(Checked):
    """One run: architecture, training, where. The descriptions are the help of `python -m pipeline.train`."""

    study: Name = Field(description="study whose tables the run belongs to")
    dataset: Name = Field(description="a key of `datasets`")
    seeds: Seeds = Field(description="seeds of this run; [] for those of the project")
    task: Literal["classify", "separate"] = Field(
        description="classify one image, or separate two that overlap, in a field with max_shift pixels around them"
    )
    crop: Annotated[int, Field(ge=0)] = Field(
        description="pixels that the network sees: a random square of a training image, the centre of others; 0 for all"
    )
    standardise: bool = Field(description="the network gives each image mean 0 and standard deviation 1")
    padding: Literal["valid", "same"] = Field(
        description="of both convolutions: valid for none; same: zeros for an output of ceil(size / stride) pixels"
    )
    conv_channels: Count = Field(description="channels of the first convolution")
    conv_kernel: Count = Field(description="kernel size of the first convolution, in pixels")
    primary_types: Count = Field(description="types of primary capsules: channels of their convolution / primary_dim")
    primary_dim: Count = Field(description="pose size of a primary capsule")
    primary_kernel: Count = Field(description="kernel size of the primary capsules' convolution, in pixels")
    primary_stride: Count = Field(description="stride of the primary capsules' convolution, in pixels")
    primary_scale: Positive = Field(description="factor on the primary capsules' convolution, before its bias")
    class_dim: Count = Field(description="pose size of a class capsule")
    routing_iterations: Count = Field(description="iterations of dynamic routing")
    routing_bias: bool = Field(description="add a learned bias to each class capsule before squash")
    leaky_routing: bool = Field(description="let primary capsules abstain: an extra zero logit in the softmax")
    decoder: Literal["none", "fc", "deconv"] = Field(description="decoder: none, fc or deconv")
    decoder_hidden: Widths = Field(description="widths of the fc decoder's hidden layers")
    decoder_channels: Count = Field(
        description="channels of the deconv decoder's first layer; they double up to 4 times it"
    )
    batch_norm: bool = Field(description="batch normalisation in encoder and decoder")
    initialisation: Literal["torch", "reference", "sabour"] = Field(
        description="torch; reference: Glorot's normal x 0.02 (class capsules 0.002); sabour: truncated normal 0.1 "
        "(first convolution 0.05), biases 0.1"
    )
    epochs: Count = Field(description="epochs; the last one is the result")
    batch_size: Count = Field(description="images a step")
    lr: Positive = Field(description="Adam's learning rate")
    lr_decay: Positive = Field(description="factor on lr per lr_decay_steps steps, applied continuously; 1 for none")
    lr_decay_steps: Count = Field(description="see lr_decay")
    lr_floor: NotNegative = Field(description="lr never falls below this")
    margin_weight: Positive = Field(
        description="weight of the margin loss, on the sum over classes; halved and averaged over 10 of them: 0.05"
    )
    alpha: NotNegative = Field(description="weight of the reconstruction loss, on the sum over pixels")
    alpha_schedule: Literal["constant", "tanh_delayed", "tanh"] = Field(
        description="constant; tanh_delayed: alpha (tanh(epoch / 8 - pi) + 1) / 2; tanh: alpha tanh(epoch / 16)"
    )
    reconstruction: Literal["l2", "l1"] = Field(description="reconstruction loss: l2 (summed squared error) or l1")
    max_shift: Annotated[int, Field(ge=0)] = Field(description="pixels by which a training image is shifted at most")
    flip: bool = Field(description="exchange left and right in half of the training images")
    brightness: Annotated[float, Field(ge=0, le=255)] = Field(
        description="largest change of a training image's brightness, in grey levels of 255; 0 for none"
    )
    brightness_change: Literal["add", "scale"] = Field(
        description="add up to brightness / 255, or scale by a factor from 1 - brightness / 255 to 1 + brightness / 255"
    )
    contrast: Factors = Field(
        description="lowest and highest factor on a training image's contrast; [1.0, 1.0] for none"
    )
    clip_pixels: bool = Field(
        description="cut a training image off at 0 and 1 after brightness and contrast; a decoder's target always is"
    )
    validation: Share = Field(description="share of the training images, or of their instances, held out; 0 for none")
    precision: Literal["float32", "tf32", "bfloat16"] = Field(
        description="of convolutions and decoder in training; capsules, losses and every evaluation are in float32"
    )
    device: Literal["auto", "cpu", "cuda"] = Field(description="auto takes a GPU where there is one")
    threads: Count = Field(description="CPU threads; the same number gives the same bytes")
    checkpoint_every: Count = Field(description="epochs between checkpoints")

    @model_validator(mode="after")
    def _batch_norm_needs_two(self) -> Self:
        if self.batch_norm and self.batch_size < 2:
            raise ValueError("batch_size: got 1, expected at least 2 with batch_norm")
        return self

    @model_validator(mode="after")
    def _contrast_rises(self) -> Self:
        if self.contrast[0] > self.contrast[1]:
            raise ValueError(f"contrast: got {list(self.contrast)}, expected the lowest factor first")
        return self

    @model_validator(mode="after")
    def _pairs_are_seen_whole(self) -> Self:
        if self.task == "separate" and self.crop:
            raise ValueError(f"crop: got {self.crop}, expected 0 with task separate")
        return self

    @property
    def label(self) -> str:
        """The run's decoder in the words of the published tables, FC w/ BN, and what else is special about it."""
        decoder = {"none": "no decoder", "fc": "FC", "deconv": "DeConv"}[self.decoder]
        precision = "" if self.precision == "float32" else f", {self.precision}"
        pairs = ", pairs" if self.task == "separate" else ""
        return decoder + (" w/ BN" if self.batch_norm else "") + precision + pairs

    def model(self, image_size: int, channels: int, classes: int) -> "ModelConfig":
        """Return the architecture for images of `image_size` pixels. Raises ValueError if it cannot be built."""
        from capsnet.model import ModelConfig

        if self.crop > image_size:
            raise ValueError(f"crop: got {self.crop}, expected at most {image_size}, the pixels of {self.dataset}")
        border = self.max_shift if self.task == "separate" else 0
        size = self.crop or image_size + 2 * border
        values: dict[str, Any] = {"image_size": size, "channels": channels, "classes": classes}
        values |= {field.name: getattr(self, field.name) for field in fields(ModelConfig) if field.name not in values}
        return ModelConfig(**values)

    def training(self) -> "TrainingConfig":
        """Return what decides the training."""
        from capsnet.training import TrainingConfig

        return TrainingConfig(**{field.name: getattr(self, field.name) for field in fields(TrainingConfig)})
