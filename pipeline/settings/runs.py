"""The runs in params.yaml: the settings of every run, and those of each network."""

from dataclasses import fields
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from capsnet.training.training_config import TrainingConfig
from pipeline.settings.checked import Checked, Count, Factors, Name, NotNegative, Positive, Seeds, Share, Widths

if TYPE_CHECKING:
    from capsnet.networks.capsnet import NetworkConfig


DECODER_WORDS = {"none": "no decoder", "fc": "FC", "deconv": "DeConv", "upsampling": "upsampling"}


class Run(Checked):
    """One run: its data, network and training. The descriptions are the help of `python -m pipeline.train`.

    These are the settings of every run. The subclass of each network adds its own.
    """

    network: str  # a key of RUNS
    study: Name = Field(description="study that the run belongs to")
    dataset: Name = Field(description="a key of `datasets`")
    seeds: Seeds = Field(description="seeds of this run; [] for those of the project")
    task: Literal["classify", "separate"] = Field(
        description="classify one image, or separate two overlapping images in a field that is larger by max_shift "
        "pixels on each side"
    )
    crop: Annotated[int, Field(ge=0)] = Field(
        description="side of the square that the network sees, in pixels: at random places of training images, in the "
        "centre of others; 0 for whole images"
    )
    standardise: bool = Field(description="give each image mean 0 and standard deviation 1 inside the network")
    class_dim: Count = Field(description="pose size of a class capsule")
    decoder: Literal["none", "fc", "deconv", "upsampling"] = Field(
        description="layers that reconstruct the image: none; fc: fully connected; deconv: transposed convolutions; "
        "upsampling: double the size and convolve, three times"
    )
    decoder_hidden: Widths = Field(description="widths of the fc decoder's hidden layers")
    decoder_channels: Count = Field(
        description="channels of the first layer of the deconv decoder (later layers have up to 4 times as many) and "
        "of the upsampling decoder (later layers have twice as many)"
    )
    epochs: Count = Field(description="number of epochs; the result is the network after the last one")
    batch_size: Count = Field(description="images in a training step")
    lr: Positive = Field(description="Adam's learning rate; with lr_schedule one_cycle, the highest one")
    lr_schedule: Literal["decay", "epochs", "one_cycle"] = Field(
        description="decay: lr is multiplied by lr_decay in every lr_decay_steps steps, continuously; epochs: by "
        "lr_decay after each epoch; one_cycle: it rises in the first 30 % of the training, then falls to 0"
    )
    lr_decay: Positive = Field(description="factor by which lr_schedule changes lr; 1 for a constant lr")
    lr_decay_steps: Count = Field(
        description="with lr_schedule decay: the number of steps in which lr is multiplied by lr_decay"
    )
    lr_floor: NotNegative = Field(description="smallest lr")
    margin_weight: Positive = Field(
        description="weight of the margin loss, which is a sum over classes; 0.05 makes it half of the mean over 10 "
        "classes"
    )
    alpha: NotNegative = Field(description="weight of the reconstruction loss, which is a sum over pixels")
    alpha_schedule: Literal["constant", "tanh_delayed", "tanh"] = Field(
        description="alpha in each epoch: constant; tanh_delayed: alpha (tanh(epoch / 8 - pi) + 1) / 2; tanh: "
        "alpha tanh(epoch / 16)"
    )
    decoded_share: Annotated[float, Field(gt=0, le=1)] = Field(
        description="share of the images of a batch that is reconstructed; their mean loss counts for the whole batch"
    )
    reconstruction: Literal["l2", "l1"] = Field(description="reconstruction loss: l2 (summed squared error) or l1")
    max_shift: Annotated[int, Field(ge=0)] = Field(description="largest shift of a training image, in pixels")
    flip: bool = Field(description="mirror half of the training images left to right")
    rotation: Annotated[float, Field(ge=0, le=180)] = Field(
        description="largest rotation of a training image, in degrees; angles have a normal distribution whose "
        "standard deviation is a third of this"
    )
    rotation_share: Annotated[float, Field(ge=0, le=1)] = Field(
        description="share of the training images that are rotated"
    )
    squeeze: Share = Field(
        description="largest share of its width that a training image loses; shares have a normal distribution whose "
        "standard deviation is a third of this"
    )
    scale: Share = Field(description="largest share by which a training image becomes larger or smaller")
    erase: Annotated[int, Field(ge=0)] = Field(
        description="side of the square that is erased from each training image, in pixels; 0 for none"
    )
    brightness: Annotated[float, Field(ge=0, le=255)] = Field(
        description="largest change of a training image's brightness, in grey levels of 255; 0 for none"
    )
    brightness_change: Literal["add", "scale"] = Field(
        description="add: up to brightness / 255 to all pixels; scale: all pixels by a factor from 1 - brightness / "
        "255 to 1 + brightness / 255"
    )
    contrast: Factors = Field(
        description="lowest and highest factor on a training image's contrast; [1.0, 1.0] for none"
    )
    clip_pixels: bool = Field(
        description="limit the pixels of a training image to values from 0 to 1 after brightness and contrast have "
        "changed; the image that the decoder is to reconstruct is always limited"
    )
    validation: Share = Field(
        description="share of the training images, or of the objects that they show, that is held out; 0 for none"
    )
    precision: Literal["float32", "tf32", "bfloat16"] = Field(
        description="number format of convolutions and decoder in training; capsules, losses and evaluations use "
        "float32"
    )
    device: Literal["auto", "cpu", "cuda"] = Field(description="auto: a GPU if there is one")
    threads: Count = Field(description="CPU threads; another number may change the last digits of results")
    checkpoint_every: Count = Field(description="epochs between checkpoints")

    @model_validator(mode="after")
    def _contrast_rises(self) -> Self:
        if self.contrast[0] > self.contrast[1]:
            raise ValueError(f"contrast: got {list(self.contrast)}, expected the lowest factor first")
        return self

    @model_validator(mode="after")
    def _pairs_are_not_cropped(self) -> Self:
        if self.task == "separate" and self.crop:
            raise ValueError(f"crop: got {self.crop}, expected 0 with task separate")
        return self

    @property
    def label(self) -> str:
        """The run's model in the words of tables, such as "FC w/ BN, bfloat16": network, precision, task.

        Float32 and the task `classify` are not named.
        """
        precision = [] if self.precision == "float32" else [self.precision]
        task = ["pairs"] if self.task == "separate" else []
        return ", ".join([*self.words, *precision, *task])

    @property
    def words(self) -> list[str]:
        """The words for the network: its decoder last."""
        return [DECODER_WORDS[self.decoder]]

    def model(self, image_size: int, channels: int, classes: int) -> "NetworkConfig":
        """Return the architecture for images of `image_size` x `image_size` pixels.

        Raises ValueError if it cannot be built.
        """
        from capsnet.networks.capsnet import NETWORKS

        if self.crop > image_size:
            raise ValueError(f"crop: got {self.crop}, expected at most {image_size}, the pixels of {self.dataset}")
        border = self.max_shift if self.task == "separate" else 0
        size = self.crop or image_size + 2 * border
        network = NETWORKS[self.network]
        values: dict[str, Any] = {"image_size": size, "channels": channels, "classes": classes}
        values |= {field.name: getattr(self, field.name) for field in fields(network) if field.name not in values}
        return network(**values)

    def training(self) -> TrainingConfig:
        """Return the training settings as the library takes them."""
        return TrainingConfig(**{field.name: getattr(self, field.name) for field in fields(TrainingConfig)})


class DynamicRun(Run):
    """A run of the network of Sabour et al. 2017."""

    network: Literal["dynamic"] = Field(description="dynamic: the network with dynamic routing")
    padding: Literal["valid", "same"] = Field(
        description="zeros around the input of both convolutions: valid: none; same: so many that the output has "
        "ceil(size / stride) pixels a side"
    )
    conv_channels: Count = Field(description="channels of the first convolution")
    conv_kernel: Count = Field(description="kernel size of the first convolution, in pixels")
    primary_types: Count = Field(
        description="types of primary capsules; their convolution has primary_types x primary_dim channels"
    )
    primary_dim: Count = Field(description="pose size of a primary capsule")
    primary_kernel: Count = Field(description="kernel size of the primary capsules' convolution, in pixels")
    primary_stride: Count = Field(description="stride of the primary capsules' convolution, in pixels")
    primary_scale: Positive = Field(
        description="factor on the output of the primary capsules' convolution, before its bias"
    )
    routing_iterations: Count = Field(description="iterations of dynamic routing")
    routing_bias: bool = Field(description="add a learned bias to each class capsule before squash")
    leaky_routing: bool = Field(
        description="let primary capsules abstain: the softmax of the coupling gets one more logit, which is 0"
    )
    batch_norm: bool = Field(description="batch normalisation in encoder and decoder")
    initialisation: Literal["torch", "reference", "sabour"] = Field(
        description="initial weights: torch: those of torch; reference: Glorot's normal distribution times 0.02 (class "
        "capsules: times 0.002); sabour: a truncated normal distribution with standard deviation 0.1 (first "
        "convolution: 0.05), biases 0.1"
    )

    @model_validator(mode="after")
    def _batch_norm_needs_two(self) -> Self:
        if self.batch_norm and self.batch_size < 2:
            raise ValueError("batch_size: got 1, expected at least 2 with batch_norm")
        return self

    @property
    def words(self) -> list[str]:
        """The words for the network: its decoder, and whether it has batch normalisation."""
        return [DECODER_WORDS[self.decoder] + (" w/ BN" if self.batch_norm else "")]


class AttentionRun(Run):
    """A run of the network of Mazzia et al. 2021."""

    network: Literal["attention"] = Field(description="attention: the network with self-attention routing")
    encoder_channels: Widths = Field(description="channels of each convolution")
    encoder_kernels: Widths = Field(description="kernel size of each convolution, in pixels")
    encoder_strides: Widths = Field(description="stride of each convolution, in pixels")
    encoder_norm: Literal["batch", "instance"] = Field(
        description="normalisation after each convolution: over the batch, or over each image"
    )
    encoder_leak: NotNegative = Field(description="slope of the activation below zero; 0 for ReLU")
    primary_dim: Count = Field(
        description="pose size of a primary capsule; the last convolution has a multiple of it as channels"
    )

    @model_validator(mode="after")
    def _batches_need_two(self) -> Self:
        if self.encoder_norm == "batch" and self.batch_size < 2:
            raise ValueError("batch_size: got 1, expected at least 2 with encoder_norm batch")
        return self

    @property
    def words(self) -> list[str]:
        """The words for the network: its routing and its decoder."""
        return ["self-attention", *super().words]


# Settings that older model files lack, with the values that were in force then.
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
AnyRun = Annotated[DynamicRun | AttentionRun, Field(discriminator="network")]
