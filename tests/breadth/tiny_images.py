"""Tiny networks: name -> (model, configuration, options[, what is unusual])."""

from __future__ import annotations

from breadth.tiny_parts import CLIP, PYRAMID, STAGES, VIT, WINDOWS, Rows

IMAGES: Rows = {
    "vit": ("ViTForImageClassification", "ViTConfig", VIT),
    "deit": ("DeiTForImageClassification", "DeiTConfig", VIT),
    "beit": (
        "BeitForImageClassification",
        "BeitConfig",
        {**VIT, "use_relative_position_bias": True},
    ),
    "data2vec-vision": (
        "Data2VecVisionForImageClassification",
        "Data2VecVisionConfig",
        {**VIT, "use_shared_relative_position_bias": True},
    ),
    "vit-msn": ("ViTMSNForImageClassification", "ViTMSNConfig", VIT),
    "swin": ("SwinForImageClassification", "SwinConfig", WINDOWS),
    "swinv2": ("Swinv2ForImageClassification", "Swinv2Config", WINDOWS),
    "donut-swin": ("DonutSwinForImageClassification", "DonutSwinConfig", WINDOWS),
    "dinov2": ("Dinov2ForImageClassification", "Dinov2Config", VIT),
    "dinov2-registers": (
        "Dinov2WithRegistersForImageClassification",
        "Dinov2WithRegistersConfig",
        {**VIT, "num_register_tokens": 3},
    ),
    "ijepa": ("IJepaForImageClassification", "IJepaConfig", VIT),
    "convnext": ("ConvNextForImageClassification", "ConvNextConfig", STAGES),
    "convnextv2": ("ConvNextV2ForImageClassification", "ConvNextV2Config", STAGES),
    "resnet": (
        "ResNetForImageClassification",
        "ResNetConfig",
        {**STAGES, "embedding_size": 16, "layer_type": "bottleneck"},
    ),
    "regnet": (
        "RegNetForImageClassification",
        "RegNetConfig",
        {**STAGES, "embedding_size": 16, "groups_width": 8, "layer_type": "y"},
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
    "poolformer": ("PoolFormerForImageClassification", "PoolFormerConfig", STAGES),
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
        {**PYRAMID, "decoder_hidden_size": 16},
    ),
    "pvt": (
        "PvtForImageClassification",
        "PvtConfig",
        {**PYRAMID, "image_size": 64, "sequence_reduction_ratios": [8, 4, 2, 1]},
    ),
    "pvt-v2": (
        "PvtV2ForImageClassification",
        "PvtV2Config",
        {**PYRAMID, "image_size": 64},
    ),
    "bit": (
        "BitForImageClassification",
        "BitConfig",
        {**STAGES, "embedding_size": 16, "hidden_sizes": [32, 32, 64, 64], "num_groups": 8},
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
        {"vision_config": VIT, "num_labels": 7},
    ),
    "clip": ("CLIPForImageClassification", "CLIPConfig", {"vision_config": CLIP, "num_labels": 7}),
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
    "dinov3": ("DINOv3ViTModel", "DINOv3ViTConfig", {**VIT, "num_register_tokens": 2}),
    "dinov3-convnext": ("DINOv3ConvNextModel", "DINOv3ConvNextConfig", STAGES),
    "clip-vision": (
        "CLIPVisionModelWithProjection",
        "CLIPVisionConfig",
        CLIP,
        {"output": "image_embeds"},
    ),
    "siglip-vision": ("SiglipVisionModel", "SiglipVisionConfig", VIT),
    "blip-vision": ("BlipVisionModel", "BlipVisionConfig", VIT),
    "owlvit-vision": ("OwlViTVisionModel", "OwlViTVisionConfig", VIT),
    "vit-mae": (
        "ViTMAEModel",
        "ViTMAEConfig",
        {**VIT, "mask_ratio": 0.0},
        {"output": "last_hidden_state"},
    ),
    "sam-vision": (
        "SamVisionModel",
        "SamVisionConfig",
        {**VIT, "output_channels": 16, "window_size": 2, "global_attn_indexes": [1]},
        {"output": "last_hidden_state"},
    ),
    "vitdet": (
        "VitDetModel",
        "VitDetConfig",
        {**VIT, "window_size": 2, "window_block_indices": [0]},
        {"output": "last_hidden_state"},
    ),
}
