"""What a run may be in params.yaml."""

from dataclasses import fields
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from pipeline.settings.checked import Checked, Count, Factors, Name, NotNegative, Positive, Seeds, Share, Widths

if TYPE_CHECKING:
    from capsnet.networks.capsnet import NetworkConfig
    from capsnet.training.loop import TrainingConfig


DECODER_WORDS = {"none": "no decoder", "fc": "FC", "deconv": "DeConv", "upsampling": "upsampling"}


class Run(Checked):
    """One run: architecture, training, where. The descriptions are the help of `python -m pipeline.train`.

    The settings here are those of every run; the model of each network adds its own.
    """

    network: str  # a key of RUNS: which model a run is
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
    class_dim: Count = Field(description="pose size of a class capsule")
    decoder: Literal["none", "fc", "deconv", "upsampling"] = Field(
        description="decoder: none; fc; deconv; upsampling: doubled and convolved three times"
    )
    decoder_hidden: Widths = Field(description="widths of the fc decoder's hidden layers")
    decoder_channels: Count = Field(
        description="channels of the first layer of the deconv decoder (they double up to 4 times it) and of the "
        "upsampling one (twice as many in the others)"
    )
    epochs: Count = Field(description="epochs; the last one is the result")
    batch_size: Count = Field(description="images a step")
    lr: Positive = Field(description="Adam's learning rate; the highest of one cycle")
    lr_schedule: Literal["decay", "epochs", "one_cycle"] = Field(
        description="decay: continuously, per lr_decay_steps steps; epochs: after each epoch; one_cycle: rise in the "
        "first 30 %, then fall to nothing"
    )
    lr_decay: Positive = Field(description="factor on lr per lr_decay_steps steps, or per epoch; 1 for none")
    lr_decay_steps: Count = Field(description="see lr_schedule")
    lr_floor: NotNegative = Field(description="lr never falls below this")
    margin_weight: Positive = Field(
        description="weight of the margin loss, on the sum over classes; halved and averaged over 10 of them: 0.05"
    )
    alpha: NotNegative = Field(description="weight of the reconstruction loss, on the sum over pixels")
    alpha_schedule: Literal["constant", "tanh_delayed", "tanh"] = Field(
        description="constant; tanh_delayed: alpha (tanh(epoch / 8 - pi) + 1) / 2; tanh: alpha tanh(epoch / 16)"
    )
    decoded_share: Annotated[float, Field(gt=0, le=1)] = Field(
        description="share of each batch that is reconstructed, and stands for the rest; 1 for all"
    )
    reconstruction: Literal["l2", "l1"] = Field(description="reconstruction loss: l2 (summed squared error) or l1")
    max_shift: Annotated[int, Field(ge=0)] = Field(description="pixels by which a training image is shifted at most")
    flip: bool = Field(description="exchange left and right in half of the training images")
    rotation: Annotated[float, Field(ge=0, le=180)] = Field(
        description="degrees by which a training image is rotated at most: normal, a third of that as deviation"
    )
    rotation_share: Annotated[float, Field(ge=0, le=1)] = Field(
        description="share of the training images that are rotated"
    )
    squeeze: Share = Field(
        description="share of its width that a training image loses at most: normal, a third of that as deviation"
    )
    scale: Share = Field(description="share by which a training image becomes larger or smaller at most")
    erase: Annotated[int, Field(ge=0)] = Field(
        description="side of a square erased from each training image, in pixels; 0 for none"
    )
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
        return ", ".join([*self.words, *(word for word, said in self._more.items() if said)])

    @property
    def words(self) -> list[str]:
        """What is special about the network, its decoder last."""
        return [DECODER_WORDS[self.decoder]]

    @property
    def _more(self) -> dict[str, bool]:
        return {self.precision: self.precision != "float32", "pairs": self.task == "separate"}

    def model(self, image_size: int, channels: int, classes: int) -> "NetworkConfig":
        """Return the architecture for images of `image_size` pixels. Raises ValueError if it cannot be built."""
        from capsnet.networks.capsnet import NETWORKS

        if self.crop > image_size:
            raise ValueError(f"crop: got {self.crop}, expected at most {image_size}, the pixels of {self.dataset}")
        border = self.max_shift if self.task == "separate" else 0
        size = self.crop or image_size + 2 * border
        network = NETWORKS[self.network]
        values: dict[str, Any] = {"image_size": size, "channels": channels, "classes": classes}
        values |= {field.name: getattr(self, field.name) for field in fields(network) if field.name not in values}
        return network(**values)

    def training(self) -> "TrainingConfig":
        """Return what decides the training."""
        from capsnet.training.loop import TrainingConfig

        return TrainingConfig(**{field.name: getattr(self, field.name) for field in fields(TrainingConfig)})


class DynamicRun(Run):
    """A run of the network of Sabour et al. 2017."""

    network: Literal["dynamic"] = Field(description="dynamic: the network with dynamic routing")
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
    routing_iterations: Count = Field(description="iterations of dynamic routing")
    routing_bias: bool = Field(description="add a learned bias to each class capsule before squash")
    leaky_routing: bool = Field(description="let primary capsules abstain: an extra zero logit in the softmax")
    batch_norm: bool = Field(description="batch normalisation in encoder and decoder")
    initialisation: Literal["torch", "reference", "sabour"] = Field(
        description="torch; reference: Glorot's normal x 0.02 (class capsules 0.002); sabour: truncated normal 0.1 "
        "(first convolution 0.05), biases 0.1"
    )

    @model_validator(mode="after")
    def _batch_norm_needs_two(self) -> Self:
        if self.batch_norm and self.batch_size < 2:
            raise ValueError("batch_size: got 1, expected at least 2 with batch_norm")
        return self

    @property
    def words(self) -> list[str]:
        """The decoder, and whether the network is normalised."""
        return [DECODER_WORDS[self.decoder] + (" w/ BN" if self.batch_norm else "")]


class AttentionRun(Run):
    """A run of the network of Mazzia et al. 2021."""

    network: Literal["attention"] = Field(description="attention: the network with self-attention routing")
    encoder_channels: Widths = Field(description="channels of each convolution")
    encoder_kernels: Widths = Field(description="kernel size of each convolution, in pixels")
    encoder_strides: Widths = Field(description="stride of each convolution, in pixels")
    encoder_norm: Literal["batch", "instance"] = Field(
        description="normalisation after each convolution: over a batch, or of each image alone"
    )
    encoder_leak: NotNegative = Field(description="slope of the rectifiers below zero; 0 for ReLU")
    primary_dim: Count = Field(description="pose size of a primary capsule: the last channels / primary_dim are made")

    @model_validator(mode="after")
    def _batches_need_two(self) -> Self:
        if self.encoder_norm == "batch" and self.batch_size < 2:
            raise ValueError("batch_size: got 1, expected at least 2 with encoder_norm batch")
        return self

    @property
    def words(self) -> list[str]:
        """The routing, and the decoder."""
        return ["self-attention", *super().words]


# What model files from before these settings leave out, and what was done then.
EARLIER: dict[str, Any] = {
    "network": "dynamic",
    "lr_schedule": "decay",
    "decoded_share": 1.0,
    "rotation": 0.0,
    "rotation_share": 1.0,
    "squeeze": 0.0,
    "scale": 0.0,
    "erase": 0,
}
RUNS: dict[str, type[Run]] = {"dynamic": DynamicRun, "attention": AttentionRun}
Entry = Annotated[DynamicRun | AttentionRun, Field(discriminator="network")]
