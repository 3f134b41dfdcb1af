"""Untrained models of a few thousand parameters, written as Hugging Face keeps them."""

import pytest

WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] title : fire emblem garden star quest".split()


def text_model(directory):
    """A BERT with its tokenizer; skips without transformers."""
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    directory.mkdir(parents=True)
    (directory / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    tokenizer = transformers.BertTokenizerFast(vocab_file=str(directory / "vocab.txt"))
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=12,
    )
    tokenizer.save_pretrained(directory)
    transformers.BertModel(config).save_pretrained(directory)
    return directory


def image_model(directory, kind="siglip"):
    """A SigLIP, or a ViT, with its processor; skips without transformers."""
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    shape = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
    }
    seen = shape | {"image_size": 16, "patch_size": 8}
    if kind == "siglip":
        said = shape | {"vocab_size": 20, "max_position_embeddings": 8}
        config = transformers.SiglipConfig(text_config=said, vision_config=seen)
        model = transformers.SiglipModel(config)
        processor = transformers.SiglipImageProcessor(size={"height": 16, "width": 16})
    else:
        model = transformers.ViTModel(transformers.ViTConfig(**seen))
        processor = transformers.ViTImageProcessor(size={"height": 16, "width": 16})
    model.save_pretrained(directory)
    processor.save_pretrained(directory)
    return directory
