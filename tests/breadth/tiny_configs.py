"""Configurations of tiny networks: name -> (model, configuration, options[, what is unusual])."""

from __future__ import annotations

from typing import Any

Rows = dict[str, tuple[Any, ...]]

_BLOCKS = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
}
_VIT = {**_BLOCKS, "image_size": 64, "patch_size": 16, "num_labels": 7}
_STAGES = {"hidden_sizes": [16, 24, 32, 48], "depths": [1, 1, 2, 1], "num_labels": 7}
_WINDOWS = {
    "image_size": 64,
    "patch_size": 4,
    "embed_dim": 16,
    "depths": [1, 2, 1],
    "num_heads": [2, 2, 4],
    "window_size": 4,
    "num_labels": 7,
}
_PYRAMID = {
    "hidden_sizes": [16, 16, 32, 32],
    "depths": [1, 1, 1, 1],
    "num_attention_heads": [1, 2, 2, 4],
    "num_labels": 7,
}
_RESNET = (
    "ResNetConfig",
    {
        "embedding_size": 16,
        "hidden_sizes": [16, 24, 32, 48],
        "depths": [1, 1, 1, 1],
        "layer_type": "basic",
        "out_features": ["stage2", "stage3", "stage4"],
    },
)
_LAST_OF_RESNET = ("ResNetConfig", {**_RESNET[1], "out_features": ["stage4"]})
_DETECTOR = {
    "backbone_config": _LAST_OF_RESNET,
    "use_timm_backbone": False,
    "use_pretrained_backbone": False,
    "backbone": None,
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "num_queries": 6,
    "num_labels": 5,
}
_CLIP = {**_VIT, "projection_dim": 16}

IMAGES: Rows = {
    "vit": ("ViTForImageClassification", "ViTConfig", _VIT),
    "deit": ("DeiTForImageClassification", "DeiTConfig", _VIT),
    "beit": (
        "BeitForImageClassification",
        "BeitConfig",
        {**_VIT, "use_relative_position_bias": True},
    ),
    "data2vec-vision": (
        "Data2VecVisionForImageClassification",
        "Data2VecVisionConfig",
        {**_VIT, "use_shared_relative_position_bias": True},
    ),
    "vit-msn": ("ViTMSNForImageClassification", "ViTMSNConfig", _VIT),
    "swin": ("SwinForImageClassification", "SwinConfig", _WINDOWS),
    "swinv2": ("Swinv2ForImageClassification", "Swinv2Config", _WINDOWS),
    "donut-swin": ("DonutSwinForImageClassification", "DonutSwinConfig", _WINDOWS),
    "dinov2": ("Dinov2ForImageClassification", "Dinov2Config", _VIT),
    "dinov2-registers": (
        "Dinov2WithRegistersForImageClassification",
        "Dinov2WithRegistersConfig",
        {**_VIT, "num_register_tokens": 3},
    ),
    "ijepa": ("IJepaForImageClassification", "IJepaConfig", _VIT),
    "convnext": ("ConvNextForImageClassification", "ConvNextConfig", _STAGES),
    "convnextv2": ("ConvNextV2ForImageClassification", "ConvNextV2Config", _STAGES),
    "resnet": (
        "ResNetForImageClassification",
        "ResNetConfig",
        {**_STAGES, "embedding_size": 16, "layer_type": "bottleneck"},
    ),
    "regnet": (
        "RegNetForImageClassification",
        "RegNetConfig",
        {**_STAGES, "embedding_size": 16, "groups_width": 8, "layer_type": "y"},
    ),
    "hgnet-v2": (
        "HGNetV2ForImageClassification",
        "HGNetV2Config",
        {
            "stem_channels": [3, 8, 16],
            "embedding_size": 16,
            "hidden_sizes": [24, 32, 40, 48],
            "depths": [1, 1, 1, 1],
            "stage_in_channels": [16, 24, 32, 40],
            "stage_mid_channels": [8, 8, 8, 8],
            "stage_out_channels": [24, 32, 40, 48],
            "stage_num_blocks": [1, 1, 1, 1],
            "stage_numb_of_layers": [2, 2, 2, 2],
            "num_labels": 7,
        },
    ),
    "mobilevit": (
        "MobileViTForImageClassification",
        "MobileViTConfig",
        {
            "image_size": 64,
            "hidden_sizes": [24, 32, 40],
            "neck_hidden_sizes": [8, 8, 16, 24, 24, 32, 40],
            "num_attention_heads": 2,
            "num_labels": 7,
        },
    ),
    "mobilevitv2": (
        "MobileViTV2ForImageClassification",
        "MobileViTV2Config",
        {
            "image_size": 64,
            "width_multiplier": 0.25,
            "n_attn_blocks": [1, 1, 1],
            "base_attn_unit_dims": [32, 48, 64],
            "num_labels": 7,
        },
    ),
    "mobilenet-v1": (
        "MobileNetV1ForImageClassification",
        "MobileNetV1Config",
        {"image_size": 64, "depth_multiplier": 0.25, "num_labels": 7},
    ),
    "mobilenet-v2": (
        "MobileNetV2ForImageClassification",
        "MobileNetV2Config",
        {"image_size": 64, "depth_multiplier": 0.25, "num_labels": 7},
    ),
    "efficientnet": (
        "EfficientNetForImageClassification",
        "EfficientNetConfig",
        {
            "image_size": 64,
            "width_coefficient": 0.25,
            "depth_coefficient": 0.5,
            "hidden_dim": 320,
            "num_labels": 7,
        },
    ),
    "levit": (
        "LevitForImageClassification",
        "LevitConfig",
        {
            "image_size": 64,
            "hidden_sizes": [16, 24, 32],
            "num_attention_heads": [2, 2, 2],
            "depths": [1, 1, 1],
            "key_dim": [8, 8, 8],
            "mlp_ratio": [2, 2, 2],
            "attention_ratio": [2, 2, 2],
            "num_labels": 7,
        },
    ),
    "poolformer": ("PoolFormerForImageClassification", "PoolFormerConfig", _STAGES),
    "cvt": (
        "CvtForImageClassification",
        "CvtConfig",
        {
            "embed_dim": [16, 24, 32],
            "num_heads": [1, 2, 4],
            "depth": [1, 2, 3],
            "num_labels": 7,
        },
    ),
    "segformer": (
        "SegformerForImageClassification",
        "SegformerConfig",
        {**_PYRAMID, "decoder_hidden_size": 16},
    ),
    "pvt": (
        "PvtForImageClassification",
        "PvtConfig",
        {**_PYRAMID, "image_size": 64, "sequence_reduction_ratios": [8, 4, 2, 1]},
    ),
    "pvt-v2": (
        "PvtV2ForImageClassification",
        "PvtV2Config",
        {**_PYRAMID, "image_size": 64},
    ),
    "bit": (
        "BitForImageClassification",
        "BitConfig",
        {**_STAGES, "embedding_size": 16, "hidden_sizes": [32, 32, 64, 64], "num_groups": 8},
    ),
    "focalnet": (
        "FocalNetForImageClassification",
        "FocalNetConfig",
        {
            "image_size": 64,
            "embed_dim": 16,
            "hidden_sizes": [16, 24, 32],
            "depths": [1, 1, 1],
            "focal_levels": [2, 2, 2],
            "focal_windows": [3, 3, 3],
            "num_labels": 7,
        },
    ),
    "hiera": (
        "HieraForImageClassification",
        "HieraConfig",
        {
            "image_size": [64, 64],
            "embed_dim": 16,
            "depths": [1, 1, 2, 1],
            "num_heads": [1, 1, 2, 2],
            "num_labels": 7,
        },
    ),
    "swiftformer": (
        "SwiftFormerForImageClassification",
        "SwiftFormerConfig",
        {"image_size": 64, "embed_dims": [16, 24, 32, 48], "depths": [1, 1, 2, 1], "num_labels": 7},
    ),
    "siglip": (
        "SiglipForImageClassification",
        "SiglipConfig",
        {"vision_config": _VIT, "num_labels": 7},
    ),
    "clip": ("CLIPForImageClassification", "CLIPConfig", {"vision_config": _CLIP, "num_labels": 7}),
    "perceiver": (
        "PerceiverForImageClassificationConvProcessing",
        "PerceiverConfig",
        {
            "num_latents": 8,
            "d_latents": 32,
            "num_self_attends_per_block": 2,
            "num_self_attention_heads": 4,
            "num_cross_attention_heads": 2,
            "num_labels": 7,
        },
        {"argument": "inputs", "shape": (1, 3, 224, 224)},
    ),
}

TOKENS: Rows = {
    "dinov3": ("DINOv3ViTModel", "DINOv3ViTConfig", {**_VIT, "num_register_tokens": 2}),
    "dinov3-convnext": ("DINOv3ConvNextModel", "DINOv3ConvNextConfig", _STAGES),
    "clip-vision": (
        "CLIPVisionModelWithProjection",
        "CLIPVisionConfig",
        _CLIP,
        {"output": "image_embeds"},
    ),
    "siglip-vision": ("SiglipVisionModel", "SiglipVisionConfig", _VIT),
    "blip-vision": ("BlipVisionModel", "BlipVisionConfig", _VIT),
    "owlvit-vision": ("OwlViTVisionModel", "OwlViTVisionConfig", _VIT),
    "vit-mae": (
        "ViTMAEModel",
        "ViTMAEConfig",
        {**_VIT, "mask_ratio": 0.0},
        {"output": "last_hidden_state", "target": (0, 2)},
    ),
    "sam-vision": (
        "SamVisionModel",
        "SamVisionConfig",
        {**_VIT, "output_channels": 16, "window_size": 2, "global_attn_indexes": [1]},
        {"output": "last_hidden_state", "target": (2, 1, 1)},
    ),
    "vitdet": (
        "VitDetModel",
        "VitDetConfig",
        {**_VIT, "window_size": 2, "window_block_indices": [0]},
        {"output": "last_hidden_state", "target": (2, 1, 1)},
    ),
}

MAPS: Rows = {
    "segformer-map": (
        "SegformerForSemanticSegmentation",
        "SegformerConfig",
        {**_PYRAMID, "decoder_hidden_size": 16},
    ),
    "mobilevit-map": (
        "MobileViTForSemanticSegmentation",
        "MobileViTConfig",
        {**IMAGES["mobilevit"][2], "aspp_out_channels": 16},
        {"target": (2, 1, 1)},
    ),
    "upernet": (
        "UperNetForSemanticSegmentation",
        "UperNetConfig",
        {
            "backbone_config": (
                "ConvNextConfig",
                {**_STAGES, "out_features": ["stage1", "stage2", "stage3", "stage4"]},
            ),
            "hidden_size": 16,
            "auxiliary_channels": 8,
            "auxiliary_in_channels": 32,
            "num_labels": 7,
        },
    ),
    "dpt": (
        "DPTForDepthEstimation",
        "DPTConfig",
        {
            **_VIT,
            "num_hidden_layers": 4,
            "backbone_out_indices": [0, 1, 2, 3],
            "neck_hidden_sizes": [16, 16, 16, 16],
            "fusion_hidden_size": 16,
        },
        {"output": "predicted_depth", "target": (3, 4)},
    ),
    "depth-anything": (
        "DepthAnythingForDepthEstimation",
        "DepthAnythingConfig",
        {
            "backbone_config": (
                "Dinov2Config",
                {
                    **_VIT,
                    "num_hidden_layers": 4,
                    "out_features": ["stage1", "stage2", "stage3", "stage4"],
                    "reshape_hidden_states": False,
                },
            ),
            "patch_size": 16,
            "reassemble_hidden_size": 32,
            "neck_hidden_sizes": [16, 16, 16, 16],
            "fusion_hidden_size": 16,
            "head_hidden_size": 8,
        },
        {"output": "predicted_depth", "target": (3, 4)},
    ),
    "glpn": (
        "GLPNForDepthEstimation",
        "GLPNConfig",
        {**_PYRAMID, "decoder_hidden_size": 16},
        {"output": "predicted_depth", "target": (3, 4)},
    ),
    "swin2sr": (
        "Swin2SRForImageSuperResolution",
        "Swin2SRConfig",
        {
            "image_size": 32,
            "patch_size": 1,
            "embed_dim": 16,
            "depths": [2, 1],
            "num_heads": [2, 2],
            "window_size": 4,
            "upscale": 2,
        },
        {"output": "reconstruction", "shape": (1, 3, 16, 16)},
    ),
}

SETS: Rows = {
    "detr": ("DetrForObjectDetection", "DetrConfig", _DETECTOR),
    "conditional-detr": (
        "ConditionalDetrForObjectDetection",
        "ConditionalDetrConfig",
        _DETECTOR,
    ),
    "deformable-detr": (
        "DeformableDetrForObjectDetection",
        "DeformableDetrConfig",
        {**_DETECTOR, "backbone_config": _RESNET, "num_feature_levels": 3, "decoder_layers": 2},
    ),
    "table-transformer": (
        "TableTransformerForObjectDetection",
        "TableTransformerConfig",
        _DETECTOR,
    ),
    "rt-detr": (
        "RTDetrForObjectDetection",
        "RTDetrConfig",
        {
            "backbone_config": (
                "RTDetrResNetConfig",
                {**_RESNET[1], "embedding_size": 16},
            ),
            "use_pretrained_backbone": False,
            "encoder_hidden_dim": 32,
            "encoder_in_channels": [24, 32, 48],
            "encoder_ffn_dim": 48,
            "encoder_layers": 1,
            "encoder_attention_heads": 4,
            "d_model": 32,
            "num_queries": 6,
            "decoder_in_channels": [32, 32, 32],
            "decoder_ffn_dim": 48,
            "decoder_layers": 1,
            "decoder_attention_heads": 4,
            "num_labels": 5,
            "hidden_expansion": 0.5,
        },
    ),
    "yolos": (
        "YolosForObjectDetection",
        "YolosConfig",
        {**_VIT, "image_size": [64, 64], "num_detection_tokens": 6, "num_labels": 5},
    ),
    "mask2former": (
        "Mask2FormerForUniversalSegmentation",
        "Mask2FormerConfig",
        {
            "backbone_config": (
                "SwinConfig",
                {
                    **_WINDOWS,
                    "depths": [1, 1, 1, 1],
                    "num_heads": [2, 2, 2, 2],
                    "window_size": 2,
                    "out_features": ["stage1", "stage2", "stage3", "stage4"],
                },
            ),
            "feature_size": 32,
            "mask_feature_size": 32,
            "hidden_dim": 32,
            "encoder_feedforward_dim": 32,
            "encoder_layers": 1,
            "decoder_layers": 2,
            "num_attention_heads": 4,
            "dim_feedforward": 32,
            "num_queries": 5,
            "num_labels": 5,
        },
        {"output": "class_queries_logits"},
    ),
    "maskformer": (
        "MaskFormerForInstanceSegmentation",
        "MaskFormerConfig",
        {
            "backbone_config": (
                "SwinConfig",
                {
                    **_WINDOWS,
                    "depths": [1, 1, 1, 1],
                    "num_heads": [2, 2, 2, 2],
                    "window_size": 2,
                    "out_features": ["stage1", "stage2", "stage3", "stage4"],
                },
            ),
            "decoder_config": ("DetrConfig", _DETECTOR),
            "fpn_feature_size": 32,
            "mask_feature_size": 32,
            "num_labels": 5,
        },
        {"output": "class_queries_logits"},
    ),
}

VIDEOS: Rows = {
    "timesformer": (
        "TimesformerForVideoClassification",
        "TimesformerConfig",
        {**_VIT, "image_size": 32, "num_frames": 2},
    ),
    "videomae": (
        "VideoMAEForVideoClassification",
        "VideoMAEConfig",
        {**_VIT, "image_size": 32, "num_frames": 2},
    ),
    "vivit": (
        "VivitForVideoClassification",
        "VivitConfig",
        {**_BLOCKS, "image_size": 32, "num_frames": 2, "tubelet_size": [2, 8, 8], "num_labels": 7},
    ),
}

_WAVES = {
    **_BLOCKS,
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
            **_BLOCKS,
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
    **_BLOCKS,
    "vocab_size": 50,
    "max_position_embeddings": 20,
    "num_labels": 7,
    "pad_token_id": 0,
}
_DECODER = {**_TEXT, "num_key_value_heads": 2, "bos_token_id": 1, "eos_token_id": 2}
_STATES = {"output": "last_hidden_state", "target": (3, 2)}
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
