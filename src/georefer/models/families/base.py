"""What a family of vision-language models says about itself; one subclass a family, most of it inherited."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from georefer.errors import CheckpointError, InputError
from georefer.geometry import Frame
from georefer.models.attention import PACKED
from georefer.models.packed import NOT_LEARNED, PackedBatch, Prefix, run_decoder
from georefer.models.speaking import Speech

if TYPE_CHECKING:
    from georefer.models.decoding import Constraint, Said


@dataclass(frozen=True, eq=False)
class ImageFeatures:
    """What the text part gets of each image.

    `tokens` holds for every image what replaces its placeholder tokens, (N_i, D); `deep` the same again for each of
    the first decoder layers to whose output features are added (Qwen3-VL's deepstack).
    """

    tokens: list[Tensor]
    deep: list[list[Tensor]] = field(default_factory=list)

    def of(self, images: Sequence[int]) -> ImageFeatures:
        """Features of these images, in this order, repeats allowed."""
        return ImageFeatures([self.tokens[i] for i in images], [[level[i] for i in images] for level in self.deep])


@dataclass(frozen=True)
class Manner:
    """How a checkpoint was taught to talk: its dialect, a sentence before the conversation, and the chat template.

    An empty template is the checkpoint's own.
    """

    dialect: str
    system: str = ""
    template: str = ""


class Family:
    """A loaded checkpoint of transformers, and how it sees and is asked.

    A subclass must give `dialect` and `views`; it replaces `pixels`, `pictures`, `image_features`, `embed`,
    `positions_AP` or `blocks` only where its models differ from what is here.
    """

    dialect: ClassVar[str]
    """The dialect that its released checkpoints speak."""
    processor_class: ClassVar[str] = ""
    """Name of the processor class of transformers, where it is not the one that the configuration stands for."""
    template: ClassVar[str] = ""
    """Chat template (Jinja) for checkpoints that bring none."""
    is_encoder_decoder: ClassVar[bool] = False
    """Whether what is read and what is said are two rows; then it answers by `said`, without a cache of a prefix."""
    joins: ClassVar[tuple[str, ...]] = ("merger", "deepstack_merger_list")
    """Modules inside a vision tower that are the way from it to the text part: Qwen's."""

    def __init__(self, model: Any, processor: Any):
        self.model = model
        self.processor = processor
        if not self.is_encoder_decoder and self.decoder.config._attn_implementation == "sdpa":
            self.decoder.set_attn_implementation(PACKED)

    @classmethod
    def manner(cls, source: str) -> Manner:
        """How the checkpoint in this folder or under this hub id talks."""
        return Manner(cls.dialect)

    @classmethod
    def finish(cls, processor: Any, config: Any) -> None:
        """Fill in what a checkpoint's processor leaves to the model's configuration."""

    @property
    def device(self) -> torch.device:
        device: torch.device = self.model.device
        return device

    def speech(self, system: str = "") -> Speech:
        """How the checkpoint is spoken to, after a sentence before the conversation."""
        return Speech(self.processor, system)

    def interpolate_positions(self, side: int) -> None:
        """Have the model see squares of another side than its tower was trained on, where the family can."""
        raise InputError(
            f"an image side of {side} was asked of a {self.bare.config.model_type}, where a LLaVA-1.5 is expected; "
            "leave it as it is"
        )

    # --- seeing ---------------------------------------------------------------------------------------------

    def views(self, size: tuple[int, int]) -> tuple[Frame, ...]:
        """Frame of every picture that an image of (width, height) becomes, in the order of the processor.

        Read from the checkpoint's own processor settings (`seeing`).
        """
        raise NotImplementedError

    def frame_for(self, size: tuple[int, int]) -> Frame:
        """The frame in which the model speaks: that of the view which shows the whole image, the first of most."""
        return self.views(size)[0]

    @property
    def seeing(self) -> SimpleNamespace:
        """Settings of the image processor, those on which the processor around it insists taking precedence."""
        return SimpleNamespace(**{**vars(self.processor.image_processor), **self._insisted})

    @property
    def _insisted(self) -> dict[str, Any]:
        return dict(getattr(self.processor, "images_kwargs", {}))

    def pixels(self, images: Sequence[np.ndarray]) -> dict[str, Tensor]:
        """What the checkpoint's image processor makes of uint8 images (H, W, 3)."""
        # the format is said, as transformers would take the width of a 3 pixels wide image for the channels
        made = self.processor.image_processor(
            self.nested(images), return_tensors="pt", input_data_format="channels_last", **self._insisted
        )
        return {name: torch.as_tensor(value).to(self.device) for name, value in made.items()}

    def nested(self, images: Sequence[np.ndarray]) -> list[Any]:
        """The images as the image processor takes several of them that belong to different questions."""
        return list(images)

    def pictures(self, image_HW3: np.ndarray) -> list[np.ndarray]:
        """What the model sees, one float picture (h, w, 3) of 0..1 for every view: to look at, and for tests."""
        values = self.pixels([image_HW3])["pixel_values"]
        count = len(self.views((image_HW3.shape[1], image_HW3.shape[0])))
        return self.unnormalised(values.reshape(-1, *values.shape[-3:])[:count])

    def unnormalised(self, pixels_N3HW: Tensor) -> list[np.ndarray]:
        """The processor's normalisation undone."""
        settings = self.seeing
        mean_3, std_3 = (torch.tensor(v)[:, None, None] for v in (settings.image_mean, settings.image_std))
        return [(p.float().cpu() * std_3 + mean_3).permute(1, 2, 0).numpy() for p in pixels_N3HW]

    # --- the text part --------------------------------------------------------------------------------------

    @property
    def decoder(self) -> Any:
        """The text part without its head."""
        return self.bare.get_decoder()

    @property
    def bare(self) -> Any:
        """The model without PEFT's wrapper, adapters staying in place."""
        return self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model

    def part_of(self, name: str) -> str:
        """ "vision", "projector" or "language": the part that a parameter, buffer or module of `bare` belongs to.

        The tower is a model of its own, the text part holds the decoder and all outside the two, such as the head;
        what remains between them is the projector, with loose parameters such as LLaVA's end of an image row.
        """
        holder = f"{self.bare.base_model_prefix}."
        first, *inner = name.removeprefix(holder).split(".")
        child = getattr(self.bare.base_model, first, None) if name.startswith(holder) else self.decoder
        if isinstance(child, torch.nn.Module) and any(module is self.decoder for module in child.modules()):
            return "language"
        in_tower = isinstance(child, PreTrainedModel) and not set(inner) & set(self.joins)
        return "vision" if in_tower else "projector"

    @property
    def image_token_id(self) -> int:
        """The placeholder that image features replace."""
        return int(self.bare.config.image_token_id)

    def image_features(self, pixels: Mapping[str, Tensor]) -> ImageFeatures:
        """Every image encoded once."""
        return ImageFeatures(list(self.bare.get_image_features(**pixels, return_dict=True).pooler_output))

    def embed(self, ids_BT: Tensor, shown: ImageFeatures | None) -> dict[str, Any]:
        """Keyword arguments for the decoder: embedded tokens, image features in place of placeholders.

        `shown` holds the images in the order in which their placeholders come, row by row; None where there are none.
        """
        look_up = self.bare.get_input_embeddings()
        if shown is None:
            return {"inputs_embeds": look_up(ids_BT)}
        image_BT = ids_BT == self.image_token_id
        # some placeholders lie outside the vocabulary
        embedded_BTD = look_up(ids_BT.masked_fill(image_BT, 0))
        features_ND = torch.cat(shown.tokens).to(embedded_BTD)
        if int(image_BT.sum()) != len(features_ND):
            raise ValueError(f"{len(features_ND)} image features were found for {int(image_BT.sum())} placeholders")
        return {"inputs_embeds": embedded_BTD.masked_scatter(image_BT[:, :, None], features_ND)}

    def learned_hidden(self, batch: PackedBatch, shown: ImageFeatures) -> Tensor:
        """Last hidden states (M, D) from which the learned tokens of a batch are said; `shown` as in `embed`."""
        embedded = self.embed(batch.ids_BT, shown)
        hidden_BTD = run_decoder(self, embedded, batch.positions_ABT, batch.layout, batch.layout)
        return hidden_BTD[batch.targets_BT != NOT_LEARNED]

    def said(
        self,
        shown: ImageFeatures,
        asked: Sequence[Prefix],
        constraints: Sequence[Constraint | None],
        end_ids: frozenset[int],
        max_new_tokens: int,
    ) -> list[Said]:
        """What an encoder-decoder says to questions, each in the prefix of its image; others answer by `decoding`."""
        raise NotImplementedError

    def logits(self, hidden_ND: Tensor) -> Tensor:
        """Scores of the vocabulary for last hidden states of any leading shape."""
        scores: Tensor = self.bare.get_output_embeddings()(hidden_ND)
        return scores

    def prefix(self, ids: Sequence[int], size: tuple[int, int]) -> Prefix:
        """The tokens before a question about an image of (width, height), with their positions."""
        ids_P = torch.tensor(list(ids))
        positions_AP = self.positions_AP(ids_P, size)
        return Prefix(tuple(ids), positions_AP, int(positions_AP.max()) + 1, self.blocks(ids_P))

    def positions_AP(self, ids_P: Tensor, size: tuple[int, int]) -> Tensor:
        """Rotary positions of a prefix, (1, P) or (3, P)."""
        return torch.arange(len(ids_P))[None]

    def blocks(self, ids_P: Tensor) -> Tensor:
        """Number of the stretch of image tokens that see each other both ways, -1 for tokens that look back only."""
        return torch.full((len(ids_P),), -1)


def clip_frame(settings: Any, size: tuple[int, int]) -> Frame:
    """What the processors of CLIP and SigLIP do: stretch, or resize the shorter side and cut out the middle."""
    resized, crop = settings.size, settings.crop_size
    if shortest := resized.get("shortest_edge"):
        if settings.do_center_crop:
            return Frame.centre_crop(size, (crop["width"], crop["height"]), shortest=shortest)
        raise CheckpointError(
            "the image processor was found to resize the shorter side without cropping, so that pictures differ in "
            "shape; set do_center_crop or give size a height and a width"
        )
    return Frame.resize(size, (resized["width"], resized["height"]))


def tiles(whole: Frame, columns: int, rows: int) -> tuple[Frame, ...]:
    """A frame cut into equal tiles, in reading order."""
    width, height = whole.extent_width / columns, whole.extent_height / rows
    part = replace(
        whole, width=whole.width // columns, height=whole.height // rows, extent_width=width, extent_height=height
    )
    return tuple(
        replace(part, x=whole.x + column * width, y=whole.y + row * height)
        for row in range(rows)
        for column in range(columns)
    )


def by_image(pictures_TND: Tensor, counts: Sequence[int]) -> list[Tensor]:
    """Features of pictures (T, n, D) joined to those of images, which have so many pictures each."""
    return [part.flatten(0, 1) for part in pictures_TND.split(list(counts))]
