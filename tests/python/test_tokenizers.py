"""Tokenizers with truncation, with unused ids, without a token for unknown words, and with every decoder."""

import json
import re

import numpy as np
import pytest

from prepare_support import made, rows
from ssm_hpn.cli.main import main
from ssm_hpn.cli.prompts import continued
from ssm_hpn.config import PrepareOptions
from ssm_hpn.errors import ConfigError
from ssm_hpn.prepare.encode import Bytes, Ids
from ssm_hpn.prepare.records import Documents, character_start
from ssm_hpn.prepare.sources import find
from ssm_hpn.prepare.tokenizer import Tokenizer
from support import train

tokenizers = pytest.importorskip("tokenizers")
decoders, models, normalizers, pre_tokenizers, trainers = (
    getattr(tokenizers, name) for name in ("decoders", "models", "normalizers", "pre_tokenizers", "trainers")
)
SENTENCE = "the quick brown fox jumps over the lazy dog"
TINY = ["--model.d_model", "16", "--model.n_layers", "1", "--train.threads", "1"]


def word_level(folder, words, *, unknown="[UNK]", ids=None, name="tokenizer.json", change=lambda _: None):
    """A tokenizer of whole words, saved."""
    vocabulary = dict(zip(words, ids or range(len(words)), strict=True))
    tokenizer = tokenizers.Tokenizer(models.WordLevel(vocabulary, unk_token=unknown))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    change(tokenizer)
    tokenizer.save(str(folder / name))
    return folder / name


def metaspace():
    tokenizer = tokenizers.Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=60, unk_token="<unk>", special_tokens=["<unk>"], show_progress=False)
    tokenizer.train_from_iterator([SENTENCE] * 50, trainer)
    return tokenizer


def word_piece():
    pieces = ["[UNK]", "the", "qu", "##ick", "br", "##own", "fox", "jump", "##s", "over", "la", "##zy", "dog"]
    tokenizer = tokenizers.Tokenizer(models.WordPiece({one: n for n, one in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Whitespace(), decoders.WordPiece()
    return tokenizer


def whole_words():
    tokenizer = tokenizers.Tokenizer(models.WordLevel({w: n for n, w in enumerate(dict.fromkeys(SENTENCE.split()))}))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer


def byte_level():
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([SENTENCE] * 50, trainer)
    return tokenizer


def byte_fallback():
    vocabulary = {f"<0x{n:02X}>": n for n in range(256)} | {"a": 256, "b": 257, "ab": 258}
    tokenizer = tokenizers.Tokenizer(models.BPE(vocabulary, [("a", "b")], byte_fallback=True))
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    return tokenizer


ALL = [metaspace, word_piece, whole_words, byte_level]


def encoder_of(tokenizer, **options):
    return Tokenizer(tokenizer.to_str(), source="tokenizer.json", **options)


# ---- truncation, padding, unused ids


def test_truncation_and_padding_of_the_file_are_switched_off(tmp_path):
    def limits(tokenizer):
        tokenizer.enable_truncation(16, stride=4)
        tokenizer.enable_padding(length=64, pad_id=4, pad_token="d")

    path = word_level(tmp_path, ["[UNK]", "a", "b", "c", "d"], change=limits)
    (tmp_path / "t.txt").write_text("a b c d " * 1000)
    prepared = made(tmp_path, tmp_path / "t.txt", tokenizer=str(path), validation_fraction=0)
    (row,) = rows(prepared.train)
    assert row["tokens"] == [1, 2, 3, 4] * 1000
    assert prepared.encoder.encode_text("a b") == [1, 2]


def test_the_size_of_a_vocabulary_is_its_largest_id_plus_one(tmp_path):
    path = word_level(tmp_path, ["a", "b", "[UNK]"], ids=[0, 1, 50])
    (tmp_path / "t.txt").write_text("a b zebra\n" * 300)
    prepared = made(tmp_path, tmp_path / "t.txt", tokenizer=str(path))
    assert prepared.vocab_size == 51
    assert rows(prepared.train)[0]["tokens"][:3] == [0, 1, 50]


def test_added_tokens_are_part_of_the_vocabulary(tmp_path):
    tokenizer = word_level(tmp_path, ["a", "[UNK]"], change=lambda t: t.add_special_tokens(["<end>"]))
    assert Tokenizer.read(tokenizer).vocab_size == 3


def test_a_vocabulary_may_be_larger_but_not_smaller(tmp_path, capsys):
    path = word_level(tmp_path, ["a", "b", "[UNK]"], ids=[0, 1, 50])
    (tmp_path / "t.txt").write_text("a b zebra\n" * 300)
    words = [str(tmp_path / "t.txt"), "--data.tokenizer", str(path), "--out", str(tmp_path / "p")]
    assert main(["prepare", *words, "--data.vocab_size", "64"]) == 0
    assert json.loads((tmp_path / "p/train/manifest.json").read_text())["vocab_size"] == 64
    capsys.readouterr()
    assert main(["prepare", *words[:-1], str(tmp_path / "q"), "--data.vocab_size", "50"]) == 2
    message = "data.vocab_size: expected at least 51, the largest id of the tokenizer plus one, found 50"
    assert message in capsys.readouterr().err
    assert main(["prepare", words[0], "--out", str(tmp_path / "r"), "--data.vocab_size", "300"]) == 2
    assert "data.vocab_size: expected token ids, or text with a tokenizer" in capsys.readouterr().err


def test_a_model_with_too_few_ids_is_refused_in_one_line(tmp_path, capsys):
    path = word_level(tmp_path, ["a", "b", "[UNK]"], ids=[0, 1, 50])
    (tmp_path / "t.txt").write_text("a b zebra\n" * 300)
    words = ["--data", str(tmp_path / "t.txt"), "--data.tokenizer", str(path), *TINY]
    assert train(*words, "--model.input.kind", "tokens", "--model.input.vocab_size", "3") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "model.input.vocab_size: expected at least 51, as in the data, found 3" in line


# ---- unknown words


def bpe(**options):
    return tokenizers.Tokenizer(models.BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")], **options))


@pytest.mark.parametrize(
    ("model", "word", "splits"),
    [
        (models.WordLevel({"a": 0, "ab": 1}), "zebra", "Whitespace"),
        (models.WordPiece({"a": 0, "##b": 1}), "zebra", "Whitespace"),
        (models.Unigram([("a", -1.0), ("b", -2.0)]), "zebra", "Whitespace"),
        (models.BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")]), "e", "Whitespace"),
        (models.BPE({"a": 0, "b": 1, "ab": 2, "▁": 3}, [("a", "b")]), "e", "Metaspace"),
    ],
    ids=["WordLevel", "WordPiece", "Unigram", "BPE", "BPE with a token for blanks"],
)
def test_a_word_without_a_token_is_refused_in_one_line_with_its_place(tmp_path, capsys, model, word, splits):
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.pre_tokenizer = getattr(pre_tokenizers, splits)()
    tokenizer.save(str(tmp_path / "t.json"))
    (tmp_path / "t.txt").write_text("ab a\n" * 40 + "ab zebra a\n")
    words = [str(tmp_path / "t.txt"), "--data.tokenizer", str(tmp_path / "t.json"), "--data.documents", "line"]
    assert main(["prepare", *words, "--out", str(tmp_path / "p")]) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(rf"t\.txt: line 41\b.*expected words that the tokenizer has tokens for, found '{word}'", line)


@pytest.mark.parametrize("options", [{}, {"end_of_word_suffix": "</w>"}])
def test_characters_with_tokens_are_known_wherever_they_stand_in_a_word(options):
    tokens = ["▁", "a", "b", "ä", "b</w>", "ä</w>", "</w>"]
    tokenizer = tokenizers.Tokenizer(models.BPE({token: k for k, token in enumerate(tokens)}, [], **options))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    encoder = encoder_of(tokenizer)
    assert encoder.decode(encoder.encode_text("ab äb  aä")).replace("</w>", "").count("ä") == 2
    with pytest.raises(ConfigError, match="expected words that the tokenizer has tokens for, found 'Ω'"):
        encoder.encode_text("ab Ωb")


@pytest.mark.parametrize("text", ["zebra", "ab zebra", "\ud800", "  "])
def test_a_prompt_without_tokens_is_refused_in_one_line(text):
    tokenizer = tokenizers.Tokenizer(models.WordLevel({"a": 0, "ab": 1}))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    with pytest.raises(ConfigError, match=r"^prompt: expected .*, found .*; use other words$"):
        encoder_of(tokenizer).encode_text(text)


def test_characters_removed_by_normalisation_are_no_unknown_words():
    tokenizer = bpe()
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFD(), normalizers.StripAccents(), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    encoder = encoder_of(tokenizer)
    assert encoder.encode_text("Ä b\u0301 AB\n") == [0, 1, 2]
    with pytest.raises(ConfigError, match="found 'é'"):
        encoder.encode_text("ab é")
    assert encoder_of(byte_fallback()).decode(encoder_of(byte_fallback()).encode_text("ab é")) == "ab é"


def test_a_generated_id_without_a_token_is_shown_as_u_fffd(tmp_path):
    encoder = Tokenizer.read(word_level(tmp_path, ["a", "b", "[UNK]"], ids=[0, 1, 50]), vocab_size=64)
    assert encoder.decode([0, 1, 7, 0, 63]) == "a b\ufffda\ufffd"
    assert Bytes().decode([97, 300, 98]) == "a\ufffdb"


@pytest.mark.parametrize(
    ("content", "code", "message"),
    [
        ("{}", 3, "expected a tokenizer.json, found"),
        ("no json", 3, "expected a tokenizer.json, found"),
        ("", 3, "expected a tokenizer.json, found"),
        (b"\xff\xfe{\0", 3, "expected a tokenizer.json, found"),
        (tokenizers.Tokenizer(models.BPE()).to_str(), 3, "vocabulary: expected at least one token, found none"),
        (None, 2, "expected a tokenizer.json, found no file"),
    ],
)
def test_a_wrong_tokenizer_file_is_refused_in_one_line(tmp_path, capsys, content, code, message):
    (tmp_path / "t.txt").write_text("a b\n" * 40)
    if content is not None:
        (tmp_path / "t.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    words = [str(tmp_path / "t.txt"), "--data.tokenizer", str(tmp_path / "t.json")]
    assert main(["prepare", *words, "--out", str(tmp_path / "p")]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not (tmp_path / "p").exists()


# ---- documents


@pytest.mark.parametrize("make", ALL)
def test_a_batch_of_texts_is_encoded_like_each_text_alone(tmp_path, make):
    encoder = encoder_of(make())
    texts = [SENTENCE, "the dog", "", "fox  over\nthe dog"]
    (tmp_path / "t.txt").write_text("x")
    record = _records(tmp_path, texts)
    together = [ids.tolist() for ids in encoder.encode_all(record)]
    assert together == [encoder.encode(one).tolist() for one in record]
    assert all(ids.dtype == np.uint32 for ids in encoder.encode_all(record))


def _records(folder, texts):
    (source,) = find((str(folder / "t.txt"),), PrepareOptions(), key="data.train")
    contents = [text.encode() for text in texts]
    offsets = np.concatenate([[0], np.cumsum([len(one) for one in contents])])
    elements = np.frombuffer(b"".join(contents), np.uint8)
    return list(Documents(source, np.arange(len(texts)), elements, offsets))


@pytest.mark.parametrize("text", ["天地玄黃", "aé", "😀", "a", "\xe9"])
def test_a_cut_never_splits_a_character(text):
    data = (text * 20).encode()
    for place in range(4, len(data)):
        start = character_start(data, place)
        assert 0 <= place - start <= 3
        data[:start].decode()
        data[start:].decode()
    assert character_start(b"\x80" * 10, 7) == 7


def test_text_without_line_ends_is_cut_between_characters(tmp_path):
    path = word_level(tmp_path, ["[UNK]"])
    turned = [("天地玄黃"[k:] + "天地玄黃"[:k]) * 200 for k in range(4)]
    texts = [turned[k % 4] for k in range(30)]
    lines = [json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts]
    (tmp_path / "c.jsonl").write_text("".join(lines))
    prepared = made(tmp_path, tmp_path / "c.jsonl", tokenizer=str(path), max_document=1000)
    assert sum(part.documents for part in prepared.parts.values()) == 30 * 3
    again = made(tmp_path / "bytes", tmp_path / "c.jsonl", max_document=1000)
    pieces = [bytes(row["tokens"]).decode() for row in rows(again.train) + rows(again.validation)]
    assert sorted("".join(pieces[at : at + 3]) for at in range(0, 90, 3)) == sorted(texts)


# ---- decoding


@pytest.mark.parametrize("make", ALL)
@pytest.mark.parametrize("prompt", ["the quick", "the quick ", "the"])
def test_prompt_and_continuation_are_decoded_together(make, prompt):
    encoder = encoder_of(make())
    read, all_read = encoder.encode_text(prompt.strip()), encoder.encode_text(SENTENCE)
    assert all_read[: len(read)] == read
    assert "".join(continued(encoder, prompt, read, all_read[len(read) :])) == SENTENCE


def test_decoding_separates_ids_and_joins_bytes_of_one_character():
    assert "".join(continued(Ids(10), "1 2", [1, 2], [3, 4])) == "1 2 3 4"
    data = "aé".encode()
    assert continued(Bytes(), "a\udcc3", list(data[:2]), [data[2]]) == ("a", "é")
    assert continued(Bytes(), "aé", list(data), []) == ("aé", "")
    assert continued(Bytes(), "a  ", list(b"a  "), list(b"  b")) == ("a  ", "  b")


@pytest.mark.parametrize("make", [metaspace, word_piece, whole_words])
def test_generate_keeps_the_blank_after_the_prompt(here, capsys, make):
    make().save("tokenizer.json")
    (here / "t.txt").write_text((SENTENCE + "\n") * 400)
    words = ["--data", "t.txt", "--data.tokenizer", "tokenizer.json", *TINY, "--optim.lr", "0.02"]
    words += ["--train.steps", "120", "--data.length", "64", "--evaluation.prompt", "the quick", "--run.folder", "run"]
    assert train(*words, "--evaluation.every", "120") == 0
    shown = capsys.readouterr().out
    assert main(["generate", "run", "--prompt", "the quick", "--tokens", "4", "--temperature", "0"]) == 0
    assert capsys.readouterr().out.startswith("the quick br")
    last = json.loads((here / "run/samples.jsonl").read_text().splitlines()[-1])
    assert (last["prompt"] + last["text"]).startswith("the quick br")
    assert "| the quick br" in shown
    assert main(["generate", "run", "--prompt", "the zebra"]) == (0 if make is word_piece or make is metaspace else 2)
    captured = capsys.readouterr()
    if make is whole_words:
        assert captured.err.count("\n") == 1
        assert "prompt: expected words that the tokenizer has tokens for, found 'zebra'" in captured.err


def test_bits_per_byte_of_a_run_with_a_tokenizer(here, capsys):
    path = word_level(here, ["[UNK]", "ab", "cde"])
    (here / "t.txt").write_text("ab cde ab ab cde\n" * 400)
    words = ["--data", "t.txt", "--data.tokenizer", str(path), *TINY, "--train.steps", "2", "--data.length", "32"]
    assert train(*words, "--run.folder", "run") == 0
    assert "bits_per_byte" in capsys.readouterr().out
    assert main(["evaluate", "run", "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    (contract,) = {
        json.dumps(json.loads(file.read_text())["contract"]) for file in here.glob("runs/data/*/*/manifest.json")
    }
    part = json.loads(contract)["parts"]["validation"]
    assert part["text_bytes"] / part["units"] == pytest.approx(17 / 5, rel=0.02)
    assert values["bits_per_byte"] == pytest.approx(values["bits_per_token"] * part["units"] / part["text_bytes"])
    rows = [json.loads(line) for line in (here / "run/metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["eval/bits_per_byte"] > 0
    assert "bits per byte" in (here / "run/report.html").read_text()
