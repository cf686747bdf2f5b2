"""Small checkpoints with random weights, each in its family's own format, so that real loading code runs on them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import (
    AutoModelForImageTextToText,
    BartConfig,
    BartTokenizer,
    CLIPVisionConfig,
    Florence2Config,
    Florence2Processor,
    Florence2VisionConfig,
    Gemma2Config,
    Gemma3Config,
    Gemma3Processor,
    Gemma3TextConfig,
    GemmaConfig,
    GemmaTokenizer,
    Idefics3Config,
    Idefics3Processor,
    InternVLConfig,
    InternVLProcessor,
    InternVLVisionConfig,
    LlamaConfig,
    LlamaTokenizer,
    LlavaConfig,
    LlavaNextConfig,
    LlavaNextProcessor,
    LlavaOnevisionConfig,
    LlavaOnevisionProcessor,
    LlavaProcessor,
    PaliGemmaConfig,
    PaliGemmaProcessor,
    Qwen2_5_VLConfig,
    Qwen2_5_VLProcessor,
    Qwen2Config,
    Qwen2Tokenizer,
    Qwen2VLConfig,
    Qwen2VLProcessor,
    Qwen3VLConfig,
    Qwen3VLProcessor,
    SiglipVisionConfig,
    SmolVLMConfig,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import LlavaOnevisionImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil
from transformers.utils import logging

from georefer.models.loading import image_only

TEXTS = [
    "where is the red building by the road? [12, 40, 60, 88] none yes no",
    "find every storage tank and ship in the image, as a list of boxes [0, 0, 9, 9], [10, 10, 32, 32]",
    "USER: ASSISTANT: user assistant system You are a helpful assistant. Is there a plane?",
]
TEXT = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": 4096}  # fmt: skip

# the templates of the released checkpoints, in our words
LLAVA_TEMPLATE = (
    "{% for m in messages %}{{ m.role.upper() + ': ' }}{% for c in m.content %}{% if c.type == 'image' %}"
    "{{ '<image>\n' }}{% endif %}{% endfor %}{% for c in m.content %}{% if c.type == 'text' %}{{ c.text + ' ' }}"
    "{% endif %}{% endfor %}{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
QWEN_TEMPLATE = (
    "{% for m in messages %}{% if loop.first and m.role != 'system' %}{{ '<|im_start|>system\nYou are a helpful "
    "assistant.<|im_end|>\n' }}{% endif %}{{ '<|im_start|>' + m.role + '\n' }}{% for c in m.content %}"
    "{{ '<|vision_start|><|image_pad|><|vision_end|>' if c.type == 'image' else c.text }}{% endfor %}"
    "{{ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
GEMMA_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{{ '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) }}"
    "{{ '\n' }}"
    "{% for c in m.content %}{{ '<start_of_image>' if c.type == 'image' else c.text | trim }}{% endfor %}"
    "{{ '<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
IDEFICS_TEMPLATE = (
    "<|im_start|>{% for m in messages %}{{ m.role | capitalize }}{{ ':' if m.content[0].type == 'image' else ': ' }}"
    "{% for c in m.content %}{{ '<image>' if c.type == 'image' else c.text }}{% endfor %}<end_of_utterance>\n"
    "{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)


def build(kind: str, folder: Path, *, true_size: bool = False) -> Path:
    """Writes the checkpoint; with `true_size` its pictures are as large as those of the released models."""
    level = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    config, processor = _paligemma1(true_size) if kind == "paligemma1" else KINDS[kind](true_size)
    torch.manual_seed(0)
    model = AutoModelForImageTextToText.from_config(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # lively enough that other images and questions get other answers
            if parameter.ndim > 1:
                embedding = 0.1 if "gemma" in kind else 0.5  # Gemma multiplies its own by the root of the width
                parameter.normal_(0, embedding if "embed" in name else 0.15)
            elif name.endswith("bias"):
                parameter.normal_(0, 0.05)
    if kind == "florence2":  # as in its released generation settings
        model.generation_config.update(forced_bos_token_id=0, no_repeat_ngram_size=3)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    logging.set_verbosity(level)
    logging.enable_progress_bar()
    return folder


PLAIN = {"paligemma": "<image>{}", "florence2": "{}"}
"""Families without a chat template: what their processors take of a question."""


def told(model: Any, prompt: str) -> str:
    """The text that a loaded model's own processor takes of a question."""
    if plain := PLAIN.get(model.family.bare.config.model_type):
        return plain.format(prompt)
    text: str = model.family.processor.apply_chat_template(
        model.speech.messages(prompt), add_generation_prompt=True, tokenize=False
    )
    return text


def llama_tokenizer(**special: str) -> LlamaTokenizer:
    """Llama's: pieces with a mark for spaces, bytes for the rest."""
    letters = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    letters.pre_tokenizer = pre_tokenizers.Metaspace()
    first = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    letters.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=480, special_tokens=first, show_progress=False))
    vocabulary, merges = _trained(letters)
    return LlamaTokenizer(vocab=vocabulary, merges=merges, pad_token="<pad>", extra_special_tokens=special)


def qwen_tokenizer(end: str = "<|im_end|>", **special: str) -> Qwen2Tokenizer:
    """Qwen's: byte-level pieces."""
    letters = Tokenizer(models.BPE())
    letters.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=420, initial_alphabet=alphabet, show_progress=False)
    letters.train_from_iterator(TEXTS, trainer)
    vocabulary, merges = _trained(letters)
    vocabulary["<|endoftext|>"] = len(vocabulary)
    return Qwen2Tokenizer(vocab=vocabulary, merges=merges, eos_token=end, extra_special_tokens=special)


def _trained(tokenizer: Tokenizer) -> tuple[dict[str, int], list[tuple[str, str]]]:
    made = json.loads(tokenizer.to_str())["model"]
    return made["vocab"], [tuple(pair) for pair in made["merges"]]


def _clip(side: int) -> CLIPVisionConfig:
    return CLIPVisionConfig(hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
                            image_size=side, patch_size=14, projection_dim=32)  # fmt: skip


def _llama(tokenizer: Any) -> LlamaConfig:
    return LlamaConfig(**TEXT, vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id,
                       bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id)  # fmt: skip


def _llava(true_size: bool) -> tuple[Any, Any]:
    side, tokenizer = (336 if true_size else 56), llama_tokenizer(image_token="<image>")
    config = LlavaConfig(vision_config=_clip(side), text_config=_llama(tokenizer),
                         image_token_index=tokenizer.image_token_id,
                         image_seq_length=(side // 14) ** 2)  # fmt: skip
    pictures = CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size={"height": side, "width": side})
    return config, LlavaProcessor(pictures, tokenizer, patch_size=14, vision_feature_select_strategy="default",
                                  num_additional_image_tokens=1, chat_template=LLAVA_TEMPLATE)  # fmt: skip


def _llava_next(true_size: bool) -> tuple[Any, Any]:
    side, tokenizer = (336 if true_size else 56), llama_tokenizer(image_token="<image>")
    points = [[side, 2 * side], [2 * side, side], [2 * side, 2 * side], [3 * side, side], [side, 3 * side]]
    config = LlavaNextConfig(vision_config=_clip(side), text_config=_llama(tokenizer),
                             image_token_index=tokenizer.image_token_id,
                             image_grid_pinpoints=points)  # fmt: skip
    pictures = LlavaNextImageProcessorPil(size={"shortest_edge": side}, crop_size={"height": side, "width": side},
                                          image_grid_pinpoints=points)  # fmt: skip
    return config, LlavaNextProcessor(pictures, tokenizer, patch_size=14, vision_feature_select_strategy="default",
                                      num_additional_image_tokens=1, chat_template=LLAVA_TEMPLATE)  # fmt: skip


def _qwen(
    true_size: bool, kind: type, whole: type, patch: int, vision: dict[str, Any], text: dict[str, Any]
) -> tuple[Any, Any]:
    tokenizer = qwen_tokenizer(image_token="<|image_pad|>", video_token="<|video_pad|>", start="<|im_start|>",
                               vision_start_token="<|vision_start|>", vision_end_token="<|vision_end|>",
                               box_start="<|box_start|>", box_end="<|box_end|>",
                               ref_start="<|object_ref_start|>", ref_end="<|object_ref_end|>")  # fmt: skip
    marks = {"image": "image_pad", "video": "video_pad", "vision_start": "vision_start", "vision_end": "vision_end"}
    named = {f"{name}_token_id": tokenizer.convert_tokens_to_ids(f"<|{mark}|>") for name, mark in marks.items()}
    config = kind(
        vision_config={"patch_size": patch, "spatial_merge_size": 2, "temporal_patch_size": 2, **vision},
        text_config={**TEXT, "vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id,
                     "pad_token_id": tokenizer.pad_token_id, "bos_token_id": None, **text},
        **named,
    )  # fmt: skip
    area = (2 * patch) ** 2
    limits = {} if true_size else {"size": {"shortest_edge": 4 * area, "longest_edge": 20 * area}}
    pictures = Qwen2VLImageProcessorPil(patch_size=patch, **limits)
    return config, image_only(whole)(pictures, tokenizer, chat_template=QWEN_TEMPLATE)


def _siglip(side: int) -> SiglipVisionConfig:
    return SiglipVisionConfig(hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
                              image_size=side, patch_size=14, vision_use_head=False)  # fmt: skip


def _qwen2_text(tokenizer: Any) -> Qwen2Config:
    return Qwen2Config(**TEXT, vocab_size=len(tokenizer), eos_token_id=tokenizer.eos_token_id,
                       pad_token_id=tokenizer.pad_token_id, bos_token_id=None)  # fmt: skip


def _llava_onevision(true_size: bool) -> tuple[Any, Any]:
    side, most = (336, 4) if true_size else (56, 3)
    tokenizer = qwen_tokenizer(image_token="<image>", video_token="<video>", start="<|im_start|>")
    points = [[side * rows, side * columns] for rows in range(1, most + 1) for columns in range(1, most + 1)]
    config = LlavaOnevisionConfig(
        vision_config=_siglip(side), text_config=_qwen2_text(tokenizer), image_token_index=tokenizer.image_token_id,
        video_token_index=tokenizer.video_token_id, image_grid_pinpoints=points, vision_feature_layer=-1,
        vision_feature_select_strategy="full", vision_aspect_ratio="anyres_max_4",
    )  # fmt: skip
    pictures = LlavaOnevisionImageProcessorPil(size={"height": side, "width": side}, image_grid_pinpoints=points)
    template = QWEN_TEMPLATE.replace("<|vision_start|><|image_pad|><|vision_end|>", "<image>\n")
    return config, image_only(LlavaOnevisionProcessor)(
        pictures, tokenizer, num_image_tokens=(side // 14) ** 2, vision_feature_select_strategy="full",
        chat_template=template, vision_aspect_ratio="anyres_max_4",
    )  # fmt: skip


def _internvl(true_size: bool) -> tuple[Any, Any]:
    side = 448 if true_size else 56
    tokenizer = qwen_tokenizer(
        start_image_token="<img>", end_image_token="</img>", context_image_token="<IMG_CONTEXT>",
        video_token="<video>", start="<|im_start|>",
    )  # fmt: skip
    vision = InternVLVisionConfig(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
                                  image_size=side, patch_size=14)  # fmt: skip
    config = InternVLConfig(
        vision_config=vision, text_config=_qwen2_text(tokenizer), tie_word_embeddings=False,
        image_token_id=tokenizer.context_image_token_id, image_seq_length=(side // 28) ** 2,
    )  # fmt: skip
    pictures = GotOcr2ImageProcessorPil(size={"height": side, "width": side}, max_patches=6)
    template = QWEN_TEMPLATE.replace("<|vision_start|><|image_pad|><|vision_end|>", "<IMG_CONTEXT>\n")
    return config, image_only(InternVLProcessor)(pictures, tokenizer, image_seq_length=(side // 28) ** 2,
                                                 chat_template=template)  # fmt: skip


def _gemma3(true_size: bool) -> tuple[Any, Any]:
    side = 448 if true_size else 56
    tokenizer = llama_tokenizer(
        image_token="<image_soft_token>", boi_token="<start_of_image>", eoi_token="<end_of_image>",
        start="<start_of_turn>", end="<end_of_turn>",
    )  # fmt: skip
    tokenizer.add_tokens(["\n\n", "\n\n\n", "<h1>"])  # added as Gemma's are: not special
    text = Gemma3TextConfig(**TEXT, vocab_size=len(tokenizer), head_dim=8, sliding_window=12, query_pre_attn_scalar=8,
                            layer_types=["sliding_attention", "full_attention", "sliding_attention"],
                            pad_token_id=tokenizer.pad_token_id, bos_token_id=tokenizer.bos_token_id,
                            eos_token_id=tokenizer.eos_token_id)  # fmt: skip
    config = Gemma3Config(
        vision_config=_siglip(side), text_config=text, mm_tokens_per_image=16 if true_size else 4,
        image_token_index=tokenizer.image_token_id, boi_token_index=tokenizer.boi_token_id,
        eoi_token_index=tokenizer.eoi_token_id, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    pictures = Gemma3ImageProcessorPil(size={"height": side, "width": side})
    return config, Gemma3Processor(pictures, tokenizer, chat_template=GEMMA_TEMPLATE,
                                   image_seq_length=config.mm_tokens_per_image)  # fmt: skip


def _idefics3(true_size: bool, kind: type = Idefics3Config, pictures_of: type = Idefics3ImageProcessorPil) -> Any:
    side = 364 if true_size else 56
    rows = [f"<row_{row}_col_{column}>" for row in range(1, 5) for column in range(1, 5)]
    tokenizer = qwen_tokenizer("<end_of_utterance>", image_token="<image>", fake="<fake_token_around_image>",
                               whole="<global-img>", start="<|im_start|>",
                               **{f"at_{n}": row for n, row in enumerate(rows)})  # fmt: skip
    vision = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
              "image_size": side, "patch_size": 14}  # fmt: skip
    text = LlamaConfig(**TEXT, vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, bos_token_id=None,
                       eos_token_id=tokenizer.eos_token_id)  # fmt: skip
    config = kind(vision_config=vision, text_config=text, scale_factor=2, image_token_id=tokenizer.image_token_id,
                  pad_token_id=tokenizer.pad_token_id)  # fmt: skip
    most = (4 if kind is Idefics3Config else 3) if true_size else 2
    pictures = pictures_of(size={"longest_edge": most * side}, max_image_size={"longest_edge": side})
    return config, Idefics3Processor(pictures, tokenizer, image_seq_len=(side // 28) ** 2,
                                     chat_template=IDEFICS_TEMPLATE)  # fmt: skip


def _smolvlm(true_size: bool) -> tuple[Any, Any]:
    return _idefics3(true_size, SmolVLMConfig, SmolVLMImageProcessorPil)


def _rope(**more: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": "default", "mrope_section": [2, 1, 1], "rope_theta": 10000.0, **more}}


def _qwen2_vl(true_size: bool) -> tuple[Any, Any]:
    vision = {"embed_dim": 32, "hidden_size": 32, "depth": 2, "num_heads": 2, "mlp_ratio": 2}
    return _qwen(true_size, Qwen2VLConfig, Qwen2VLProcessor, 14, vision, _rope())


def _qwen2_5_vl(true_size: bool) -> tuple[Any, Any]:
    vision = {"hidden_size": 32, "out_hidden_size": 32, "intermediate_size": 48, "depth": 2, "num_heads": 2,
              "window_size": 56, "fullatt_block_indexes": [1]}  # fmt: skip
    return _qwen(true_size, Qwen2_5_VLConfig, Qwen2_5_VLProcessor, 14, vision, _rope())


def _qwen3_vl(true_size: bool) -> tuple[Any, Any]:
    vision = {"hidden_size": 32, "out_hidden_size": 32, "intermediate_size": 48, "depth": 3, "num_heads": 2,
              "num_position_embeddings": 64, "deepstack_visual_indexes": [0, 1]}  # fmt: skip
    text = {**_rope(mrope_interleaved=True), "head_dim": 8}
    return _qwen(true_size, Qwen3VLConfig, Qwen3VLProcessor, 16, vision, text)


def gemma_tokenizer(**special: str) -> GemmaTokenizer:
    """Gemma's: pieces with a mark for spaces but none at the beginning, bytes for the rest, lines never cut."""
    letters = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    letters.normalizer = normalizers.Replace(" ", "▁")
    letters.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    first = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *(f"<0x{byte:02X}>" for byte in range(256)), "\n"]
    letters.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=480, special_tokens=first, show_progress=False))
    vocabulary, merges = _trained(letters)
    return GemmaTokenizer(vocab=vocabulary, merges=merges, extra_special_tokens=special)


def _paligemma(true_size: bool, text: type = Gemma2Config, **more: Any) -> tuple[Any, Any]:
    side, tokenizer = (448 if true_size else 56), gemma_tokenizer()
    pictures = SiglipImageProcessorPil(size={"height": side, "width": side})
    pictures.image_seq_length = (side // 14) ** 2
    processor = PaliGemmaProcessor(pictures, tokenizer)  # adds its own tokens
    if text is Gemma2Config:
        more = {"sliding_window": 12, "query_pre_attn_scalar": 8, "final_logit_softcapping": 3.0,
                "attn_logit_softcapping": 2.0}  # fmt: skip
    ends = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("pad", "bos", "eos")}
    decoder = text(**TEXT, vocab_size=len(tokenizer), head_dim=8, **ends, **more)
    config = PaliGemmaConfig(
        vision_config=_siglip(side), text_config=decoder, projection_dim=32, vocab_size=len(tokenizer),
        image_token_index=processor.image_token_id, **ends,
    )  # fmt: skip
    return config, processor


def _paligemma1(true_size: bool) -> tuple[Any, Any]:
    return _paligemma(true_size, GemmaConfig)


def _florence2(true_size: bool) -> tuple[Any, Any]:
    side, start = (768 if true_size else 64), qwen_tokenizer()
    vocabulary = {token: n + 5 for token, n in start.get_vocab().items() if n < len(start) - 2}
    vocabulary |= {token: n for n, token in enumerate(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])}
    tokenizer = BartTokenizer(vocab=vocabulary, merges=start._merges, extra_special_tokens={"image_token": "<image>"})
    tokenizer.add_tokens([f"<loc_{n}>" for n in range(1000)] + ["<poly>", "</poly>", "<sep>"])
    vision = Florence2VisionConfig(embed_dim=[8, 16, 16, 32], depths=[1, 1, 1, 1], num_heads=[2, 2, 2, 2],
                                   num_groups=[2, 2, 2, 2], window_size=4, projection_dim=32)  # fmt: skip
    text = BartConfig(d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4,
                      decoder_attention_heads=4, encoder_ffn_dim=48, decoder_ffn_dim=48, vocab_size=len(tokenizer),
                      max_position_embeddings=2048, dropout=0.0)  # fmt: skip
    config = Florence2Config(vision_config=vision, text_config=text, image_token_id=tokenizer.image_token_id)
    pictures = CLIPImageProcessorPil(size={"height": side, "width": side}, do_center_crop=False)
    pictures.image_seq_length = (side // 32) ** 2 + 1
    return config, Florence2Processor(pictures, tokenizer)


KINDS: dict[str, Callable[[bool], tuple[Any, Any]]] = {
    "llava": _llava,
    "llava_next": _llava_next,
    "qwen2_vl": _qwen2_vl,
    "qwen2_5_vl": _qwen2_5_vl,
    "qwen3_vl": _qwen3_vl,
    "llava_onevision": _llava_onevision,
    "internvl": _internvl,
    "gemma3": _gemma3,
    "idefics3": _idefics3,
    "smolvlm": _smolvlm,
    "paligemma": _paligemma,
    "florence2": _florence2,
}
"""`model_type` to its configuration and processor."""
