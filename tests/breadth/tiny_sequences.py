"""Tiny networks: name -> (model, configuration, options[, what is unusual])."""

from __future__ import annotations

from breadth.tiny_parts import BLOCKS, VIT, Rows

VIDEOS: Rows = {
    "timesformer": (
        "TimesformerForVideoClassification",
        "TimesformerConfig",
        {**VIT, "image_size": 32, "num_frames": 2},
    ),
    "videomae": (
        "VideoMAEForVideoClassification",
        "VideoMAEConfig",
        {**VIT, "image_size": 32, "num_frames": 2},
    ),
    "vivit": (
        "VivitForVideoClassification",
        "VivitConfig",
        {**BLOCKS, "image_size": 32, "num_frames": 2, "tubelet_size": [2, 8, 8], "num_labels": 7},
    ),
}

_WAVES = {
    **BLOCKS,
    "num_feat_extract_layers": 2,
    "conv_dim": [16, 16],
    "conv_kernel": [8, 4],
    "conv_stride": [5, 4],
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 4,
    "classifier_proj_size": 16,
    "num_labels": 7,
}
AUDIO: Rows = {
    "wav2vec2": ("Wav2Vec2ForSequenceClassification", "Wav2Vec2Config", _WAVES),
    "hubert": ("HubertForSequenceClassification", "HubertConfig", _WAVES),
    "wavlm": ("WavLMForSequenceClassification", "WavLMConfig", _WAVES),
    "unispeech": ("UniSpeechForSequenceClassification", "UniSpeechConfig", _WAVES),
    "data2vec-audio": (
        "Data2VecAudioForSequenceClassification",
        "Data2VecAudioConfig",
        {**_WAVES, "conv_pos_kernel_size": 5},
    ),
    "ast": (
        "ASTForAudioClassification",
        "ASTConfig",
        {
            **BLOCKS,
            "patch_size": 8,
            "frequency_stride": 8,
            "time_stride": 8,
            "max_length": 32,
            "num_mel_bins": 16,
            "num_labels": 7,
        },
        {"shape": (1, 32, 16)},
    ),
    "whisper": (
        "WhisperForAudioClassification",
        "WhisperConfig",
        {
            "d_model": 32,
            "encoder_layers": 2,
            "encoder_attention_heads": 4,
            "encoder_ffn_dim": 48,
            "num_mel_bins": 16,
            "max_source_positions": 20,
            "classifier_proj_size": 16,
            "num_labels": 7,
        },
        {"argument": "input_features", "shape": (1, 16, 40)},
    ),
}

_TEXT = {
    **BLOCKS,
    "vocab_size": 50,
    "max_position_embeddings": 20,
    "num_labels": 7,
    "pad_token_id": 0,
}
_DECODER = {**_TEXT, "num_key_value_heads": 2, "bos_token_id": 1, "eos_token_id": 2}
_STATES = {"output": "last_hidden_state"}
TEXT: Rows = {
    "bert": ("BertForSequenceClassification", "BertConfig", _TEXT),
    "distilbert": (
        "DistilBertForSequenceClassification",
        "DistilBertConfig",
        {
            "dim": 32,
            "n_layers": 2,
            "n_heads": 4,
            "hidden_dim": 64,
            "vocab_size": 50,
            "max_position_embeddings": 20,
            "num_labels": 7,
        },
    ),
    "roberta": ("RobertaForSequenceClassification", "RobertaConfig", _TEXT),
    "xlm-roberta": ("XLMRobertaForSequenceClassification", "XLMRobertaConfig", _TEXT),
    "albert": (
        "AlbertForSequenceClassification",
        "AlbertConfig",
        {**_TEXT, "embedding_size": 32},
    ),
    "electra": (
        "ElectraForSequenceClassification",
        "ElectraConfig",
        {**_TEXT, "embedding_size": 32},
    ),
    "mobilebert": (
        "MobileBertForSequenceClassification",
        "MobileBertConfig",
        {**_TEXT, "embedding_size": 32, "intra_bottleneck_size": 32, "true_hidden_size": 32},
    ),
    "deberta": (
        "DebertaForSequenceClassification",
        "DebertaConfig",
        {**_TEXT, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
    ),
    "deberta-v2": (
        "DebertaV2ForSequenceClassification",
        "DebertaV2Config",
        {
            **_TEXT,
            "relative_attention": True,
            "pos_att_type": ["p2c", "c2p"],
            "position_buckets": 8,
            "norm_rel_ebd": "layer_norm",
            "share_att_key": True,
        },
    ),
    "mpnet": ("MPNetForSequenceClassification", "MPNetConfig", {**_TEXT, "pad_token_id": 1}),
    "squeezebert": (
        "SqueezeBertForSequenceClassification",
        "SqueezeBertConfig",
        {
            **_TEXT,
            "embedding_size": 32,
            "q_groups": 2,
            "k_groups": 2,
            "v_groups": 2,
            "post_attention_groups": 1,
            "intermediate_groups": 2,
            "output_groups": 2,
        },
    ),
    "convbert": (
        "ConvBertForSequenceClassification",
        "ConvBertConfig",
        {**_TEXT, "embedding_size": 32, "head_ratio": 2, "conv_kernel_size": 3},
    ),
    "roformer": (
        "RoFormerForSequenceClassification",
        "RoFormerConfig",
        {**_TEXT, "embedding_size": 32},
    ),
    "modernbert": (
        "ModernBertForSequenceClassification",
        "ModernBertConfig",
        {**_DECODER, "num_hidden_layers": 3, "local_attention": 4},
    ),
    "fnet": ("FNetForSequenceClassification", "FNetConfig", _TEXT),
    "nystromformer": (
        "NystromformerForSequenceClassification",
        "NystromformerConfig",
        {**_TEXT, "num_landmarks": 4, "segment_means_seq_len": 12},
    ),
    "xlnet": (
        "XLNetForSequenceClassification",
        "XLNetConfig",
        {
            "d_model": 32,
            "n_layer": 2,
            "n_head": 4,
            "d_inner": 48,
            "vocab_size": 50,
            "num_labels": 7,
        },
    ),
    "gpt2": (
        "GPT2Model",
        "GPT2Config",
        {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 50, "n_positions": 20},
        _STATES,
    ),
    "opt": (
        "OPTModel",
        "OPTConfig",
        {**_TEXT, "ffn_dim": 48, "word_embed_proj_dim": 32},
        _STATES,
    ),
    "t5-encoder": (
        "T5EncoderModel",
        "T5Config",
        {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4, "vocab_size": 50},
        _STATES,
    ),
    "llama": ("LlamaModel", "LlamaConfig", _DECODER, _STATES),
    "qwen3": ("Qwen3Model", "Qwen3Config", {**_DECODER, "head_dim": 8}, _STATES),
    "gemma2": ("Gemma2Model", "Gemma2Config", {**_DECODER, "head_dim": 8}, _STATES),
    "bloom": (
        "BloomModel",
        "BloomConfig",
        {"hidden_size": 32, "n_layer": 2, "n_head": 4, "vocab_size": 50},
        _STATES,
    ),
    "mamba": (
        "MambaModel",
        "MambaConfig",
        {"hidden_size": 32, "num_hidden_layers": 2, "vocab_size": 50, "state_size": 4},
        _STATES,
    ),
}

SERIES: Rows = {
    "patchtst": (
        "PatchTSTForPrediction",
        "PatchTSTConfig",
        {
            "num_input_channels": 2,
            "context_length": 32,
            "prediction_length": 8,
            "patch_length": 8,
            "patch_stride": 8,
            "num_hidden_layers": 1,
            "d_model": 16,
            "num_attention_heads": 2,
            "ffn_dim": 24,
            "loss": "mse",
        },
    ),
    "patchtsmixer": (
        "PatchTSMixerForPrediction",
        "PatchTSMixerConfig",
        {
            "num_input_channels": 2,
            "context_length": 32,
            "prediction_length": 8,
            "patch_length": 8,
            "patch_stride": 8,
            "num_layers": 2,
            "d_model": 16,
            "loss": "mse",
        },
    ),
}
