import copy
import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pixelwise.backbones.vgg import VGG16, VGG16Classifier, vgg16_classifier
from pixelwise.errors import BadOption, ShapeError, UnknownName, WeightsError
from pixelwise.models import build
from pixelwise.surgery import transplant
from pixelwise.surgery.transplant import Entry, Transplant, decimate

WIDTH = 1 / 32


def stirred(network):
    """In eval mode, every parameter and statistic a number of its own."""
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            tensor.normal_(std=0.3).abs_() if "running_var" in name else tensor.normal_(std=0.3)
    return network.eval()


def net(**layers):
    return stirred(nn.ModuleDict(layers))


def sequence(*layers):
    return stirred(nn.Sequential(*layers))


def copy_of(network):
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def paths(entries):
    return [(entry.target, entry.source) for entry in entries]


def same(found, expected):
    """To rounding: sums in another order."""
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * expected.detach().abs().max().item())


class TestVGG:
    def test_the_classifier_becomes_the_trunk_of_fcn(self):
        """What the classifier has before fc8 on 224 × 224, the trunk gives as its one cell."""
        source, target = VGG16Classifier(5, width=WIDTH).eval(), VGG16(width=WIDTH, padding=1).eval()
        report = transplant(source, target, quiet=True)
        images = torch.randn(1, 3, 224, 224)
        inner = source.conv5(source.conv4(source.conv3(source.conv2(source.conv1(images)))))
        same(target(images).fc7[..., 0, 0], source.classifier[:-1](inner))
        assert paths(report.reshaped) == [("fc6", "classifier.fc6"), ("fc7", "classifier.fc7")]
        assert len(report.copied) == 13 and report.complete
        assert paths(report.unused) == [("", "classifier.fc8")]

    def test_and_the_other_way_round(self):
        source, target = VGG16(width=WIDTH), VGG16Classifier(5, width=WIDTH)
        report = transplant(source, target, quiet=True)
        assert torch.equal(target.classifier.fc6.weight, source.fc6.weight.flatten(1))
        assert [entry.how for entry in report.reshaped] == ["784 inputs from 16 × 7 × 7", "128 inputs from 128 × 1 × 1"]
        assert paths(report.left) == [("classifier.fc8", "")] and not report.complete

    def test_of_full_size_it_starts_fcn_and_deeplab(self):
        with torch.device("meta"):
            source = vgg16_classifier()
            for name in ("fcn32s_vgg16", "deeplab_largefov"):
                report = transplant(source, build(name, num_classes=21), decimate=True, quiet=True)
                assert (len(report.copied), len(report.reshaped), len(report.left)) == (13, 2, 1), name

    @pytest.mark.parametrize(("name", "taps", "filters"), [("deeplab_4x4", 4, 128), ("deeplab_largefov", 3, 32)])
    def test_fc6_and_fc7_are_thinned_out_for_deeplab(self, name, taps, filters):
        """§3.2; evenly spaced places, written out; fc7 keeps the inputs that fc6's filters give."""
        source, target = stirred(VGG16Classifier(5, width=WIDTH)), build(name, num_classes=5, width=WIDTH)
        report = transplant(source, target, decimate=True, quiet=True)
        places = {4: [0, 2, 4, 6], 3: [0, 3, 6]}[taps]
        kept = [round(index * 127 / (filters - 1)) for index in range(filters)]
        fc6, fc7 = source.classifier.fc6, source.classifier.fc7
        flat, weight6 = fc6.weight.tolist(), target.fc.fc6.weight.tolist()
        square, weight7 = fc7.weight.tolist(), target.fc.fc7.weight.tolist()
        for i, o in enumerate(kept):
            assert target.fc.fc6.bias[i] == fc6.bias[o] and target.fc.fc7.bias[i] == fc7.bias[o]
            for channel, (row, y), (column, x) in itertools.product(range(16), enumerate(places), enumerate(places)):
                assert weight6[i][channel][row][column] == flat[o][channel * 49 + y * 7 + x]
            for j, p in enumerate(kept):
                assert weight7[i][j] == [[square[o][p]]]
        assert torch.equal(target.backbone.conv5.conv5_3.weight, source.conv5.conv5_3.weight)
        assert "3 × 3 of 7 × 7 taps" in report.reshaped[0].how or taps == 4
        assert [entry.target for entry in report.left] == [f"fc8_{'voc12' if taps == 3 else 'pascal'}"]

    def test_without_decimation_they_stay_at_start(self):
        source, target = VGG16Classifier(5, width=WIDTH), build("deeplab_largefov", num_classes=5, width=WIDTH)
        before = copy_of(target)
        report = transplant(source, target, quiet=True)
        assert torch.equal(target.fc.fc6.weight, before["fc.fc6.weight"])
        assert [(entry.target, entry.how) for entry in report.left] == [
            ("fc.fc6", "gives 32 channels, the source's 128"),
            ("fc.fc7", "gives 32 channels, the source's 128"),
            ("fc8_voc12", "the source has no such layer"),
        ]

    def test_taps_alone_are_no_reason_to_thin_out(self):
        report = transplant(
            stirred(VGG16Classifier(5, width=WIDTH)), build("deeplab_4x4", num_classes=5, width=WIDTH), quiet=True
        )
        assert report.left[0] == Entry("fc.fc6", "classifier.fc6", "takes 16 × 4 × 4 inputs, the source's 784")

    def test_a_narrower_network_is_thinned_out_as_a_whole(self):
        """Filters that are left out are left out of the next layer's inputs, too."""
        source, target = stirred(VGG16(width=1 / 16)), VGG16(width=1 / 32)
        report = transplant(source, target, decimate=True, quiet=True)
        assert [entry.target for entry in report.left] == ["fc7"]  # the last: fewer filters, or other classes?
        kept4, kept2 = [0, 3], [0, 3]
        expected = source.conv1.conv1_2.weight[kept4][:, kept2]
        assert torch.equal(target.conv1.conv1_2.weight, expected)
        assert torch.equal(target.conv1.conv1_2.bias, source.conv1.conv1_2.bias[kept4])

    def test_a_network_with_numbers_for_names_is_paired_in_order(self):
        """torchvision's vgg16: `features.0` … and `classifier.0` …"""
        ours = stirred(VGG16Classifier(7, width=WIDTH))
        features, classifier = [], [nn.Flatten()]
        for group in (ours.conv1, ours.conv2, ours.conv3, ours.conv4, ours.conv5):
            features += [copy.deepcopy(layer) for layer in group]
        classifier = [copy.deepcopy(layer) for layer in list(ours.classifier)[1:]]
        theirs = nn.ModuleDict({"features": nn.Sequential(*features), "classifier": nn.Sequential(*classifier)})
        target = build("fcn8s_vgg16", num_classes=3, width=WIDTH)
        with pytest.raises(
            WeightsError, match='no layer .* begins with features.0 .*; try match="shape"|match="shape"'
        ):
            transplant(theirs, target, quiet=True)
        report = transplant(theirs.state_dict(), target, match="shape", quiet=True)
        expected = build("fcn8s_vgg16", num_classes=3, width=WIDTH)
        transplant(ours, expected, quiet=True)
        for name, tensor in expected.backbone.state_dict().items():
            assert torch.equal(tensor, target.backbone.state_dict()[name]), name
        assert paths(report.copied)[-1] == ("backbone.conv5.conv5_3", "features.28")
        assert paths(report.reshaped) == [("backbone.fc6", "classifier.0"), ("backbone.fc7", "classifier.3")]
        assert paths(report.unused) == [("", "classifier.6")]
        assert {entry.target for entry in report.left} == {"score_fr", "score_pool4", "score_pool3"}
        deeplab = build("deeplab_largefov", num_classes=3, width=WIDTH)
        report = transplant(theirs, deeplab, match="shape", decimate=True, quiet=True)
        assert paths(report.reshaped) == [("fc.fc6", "classifier.0"), ("fc.fc7", "classifier.3")]


class TestStages:
    def test_each_stage_starts_with_the_scores_of_the_last(self):
        """FCN §4.2: new score layers start at zero, so that fused scores are the coarse ones, upsampled."""
        coarse = stirred(build("fcn32s_vgg16", num_classes=3, width=WIDTH))
        middle = build("fcn16s_vgg16", num_classes=3, width=WIDTH).eval()
        fine = build("fcn8s_vgg16", num_classes=3, width=WIDTH).eval()
        first, second = transplant(coarse, middle, quiet=True), transplant(middle, fine, quiet=True)
        assert paths(first.left) == [("score_pool4", "")] and paths(second.left) == [("score_pool3", "")]
        assert not first.unused and not second.unused
        images = torch.randn(1, 3, 37, 52)
        scores = [network.heads(images)["logits"].scores for network in (coarse, middle, fine)]
        expected16 = middle.upscore2(scores[0])
        height, width = scores[1].shape[-2:]
        assert torch.equal(scores[1], expected16[..., :height, :width])
        height, width = scores[2].shape[-2:]
        assert torch.equal(scores[2], fine.upscore_pool4(scores[1])[..., :height, :width])
        assert scores[2].std() > 0.01

    def test_learned_upsampling_is_handed_on(self):
        options = {"num_classes": 3, "width": WIDTH, "learn_upsampling": True}
        middle, fine = stirred(build("fcn16s_vgg16", **options)), build("fcn8s_vgg16", **options)
        report = transplant(middle, fine, quiet=True)
        assert torch.equal(fine.upscore2.weight, middle.upscore2.weight)
        assert [entry.target for entry in report.left] == ["upscore_pool4", "score_pool3"]


class TestFirstLayer:
    @pytest.mark.parametrize(
        ("new_channels", "expected"),
        [
            ("mean", lambda w, start: [w[:, 0], w[:, 1], w[:, 2], w.mean(1), w.mean(1)]),
            ("copy", lambda w, start: [w[:, 0], w[:, 1], w[:, 2], w[:, 0], w[:, 1]]),
            ("start", lambda w, start: [w[:, 0], w[:, 1], w[:, 2], start[:, 3], start[:, 4]]),
        ],
    )
    def test_more_channels(self, new_channels, expected):
        source, target = net(conv=nn.Conv2d(3, 4, 3)), net(conv=nn.Conv2d(5, 4, 3))
        start = target["conv"].weight.clone()
        report = transplant(source, target, new_channels=new_channels, quiet=True)
        same(target["conv"].weight, torch.stack(expected(source["conv"].weight, start), 1))
        assert torch.equal(target["conv"].bias, source["conv"].bias)
        told = {"mean": "the mean", "copy": "copies", "start": "at start"}[new_channels]
        assert report.reshaped[0].how == f"3 channels to 5, the new ones {told}"

    def test_one_channel_answers_as_on_equal_colors(self):
        source, target = net(conv=nn.Conv2d(3, 4, 3)), net(conv=nn.Conv2d(1, 4, 3))
        report = transplant(source, target, quiet=True)
        gray = torch.randn(2, 1, 6, 5)
        same(target["conv"](gray), source["conv"](gray.expand(-1, 3, -1, -1)))
        assert report.reshaped[0].how == "the sum of 3 channels"

    def test_of_color_and_depth_color_is_kept(self):
        source, target = net(conv=nn.Conv2d(4, 2, 1)), net(conv=nn.Conv2d(3, 2, 1))
        report = transplant(source, target, quiet=True)
        assert torch.equal(target["conv"].weight, source["conv"].weight[:, :3])
        assert report.reshaped[0].how == "the first 3 of 4 channels"

    @pytest.mark.parametrize("channels", [3, 4])
    def test_rgb_and_bgr(self, channels):
        """The same scores for the same picture, its channels in the other order; depth stays the fourth."""
        source = net(conv=nn.Conv2d(channels, 4, 3), fc=nn.Conv2d(4, 2, 1))
        target = copy.deepcopy(stirred(copy.deepcopy(source)))
        report = transplant(source, target, reverse_channels=True, quiet=True)
        images = torch.randn(2, channels, 5, 5)
        other = images[:, [2, 1, 0, 3][:channels]]
        same(target["conv"](other), source["conv"](images))
        assert torch.equal(target["fc"].weight, source["fc"].weight)
        assert paths(report.reshaped) == [("conv", "conv")] and report.reshaped[0].how == "channels reversed"

    def test_reversed_before_they_become_more(self):
        source, target = net(conv=nn.Conv2d(3, 4, 3)), net(conv=nn.Conv2d(4, 4, 3))
        transplant(source, target, reverse_channels=True, new_channels="copy", quiet=True)
        assert torch.equal(target["conv"].weight, source["conv"].weight[:, [2, 1, 0, 2]])

    def test_one_channel_cannot_be_reversed(self):
        source, target = (
            net(conv=nn.Conv2d(1, 4, 3), fc=nn.Linear(2, 2)),
            net(conv=nn.Conv2d(3, 4, 3), fc=nn.Linear(2, 2)),
        )
        report = transplant(source, target, reverse_channels=True, quiet=True)
        assert report.left == (Entry("conv", "conv", "the source's reads 1 channels, of which no 3 can be reversed"),)

    def test_every_branch_that_reads_the_picture(self):
        """DeepLab-MSc has a branch that starts at the picture: it, too, is reversed, and gets the fourth channel."""
        options = {"num_classes": 5, "width": WIDTH}
        source, other = stirred(build("deeplab_msc_largefov", **options)), build("deeplab_msc_largefov", **options)
        transplant(source, other.eval(), reverse_channels=True, quiet=True)
        images = torch.randn(1, 3, 33, 33)
        same(other(images.flip(1)), source(images))
        with torch.device("meta"):  # no layer gives 4 channels at this width
            color, deep = (build("deeplab_msc_largefov", num_classes=5, width=1 / 8, in_channels=c) for c in (3, 4))
        report = transplant(color, deep, quiet=True)
        assert [entry.target for entry in report.reshaped] == ["backbone.conv1.conv1_1", "image_branch.conv1"]

    def test_other_layers_that_take_as_many_channels_do_not_read_the_picture(self):
        source = net(conv=nn.Conv2d(3, 3, 1), next=nn.Conv2d(3, 2, 1))
        target = net(conv=nn.Conv2d(3, 3, 1), next=nn.Conv2d(3, 2, 1))
        report = transplant(source, target, reverse_channels=True, quiet=True)
        assert paths(report.copied) == [("next", "next")]
        assert torch.equal(target["next"].weight, source["next"].weight)

    def test_an_upsampling_of_as_many_maps_does_not_read_the_picture(self):
        source = net(conv=nn.Conv2d(3, 4, 3), up=nn.ConvTranspose2d(3, 2, 2))
        target = net(conv=nn.Conv2d(3, 4, 3), up=nn.ConvTranspose2d(3, 2, 2))
        report = transplant(source, target, reverse_channels=True, quiet=True)
        assert paths(report.copied) == [("up", "up")] and paths(report.reshaped) == [("conv", "conv")]
        assert torch.equal(target["up"].weight, source["up"].weight)

    def test_no_other_layer_gets_new_channels(self):
        source = net(a=nn.Conv2d(3, 4, 1), b=nn.Conv2d(4, 4, 1))
        target = net(a=nn.Conv2d(3, 4, 1), b=nn.Conv2d(8, 4, 1))
        report = transplant(source, target, decimate=True, quiet=True)
        assert report.left == (Entry("b", "b", "takes 8 channels, the source's 4"),)


VOC = ["background", "bird", "cat", "dog", "sofa"]


class TestClasses:
    def test_each_class_is_found_by_its_name(self):
        """FIELD §17: own classes on a network for others; what both know, it still scores as before."""
        source = stirred(build("deeplab_v3_resnet50", num_classes=5, width=1 / 16))
        target = stirred(build("deeplab_v3_resnet50", num_classes=3, width=1 / 16))
        start = copy_of(target)
        report = transplant(
            source, target, source_classes=VOC, target_classes=["Background ", "tree", "Cat"], quiet=True
        )
        images = torch.randn(1, 3, 33, 40)
        same(target(images)[:, [0, 2]], source(images)[:, [0, 2]])
        assert torch.equal(target.logits.weight[1], start["logits.weight"][1])
        assert torch.equal(target.logits.bias[1], start["logits.bias"][1])
        assert report.reshaped == (Entry("logits", "logits", "2 of 3 classes by name, at start: tree"),)
        assert report.complete

    def test_without_names_other_classes_stay_at_start(self):
        source = build("deeplab_v3_resnet50", num_classes=5, width=1 / 16)
        target = build("deeplab_v3_resnet50", num_classes=3, width=1 / 16)
        start = copy_of(target)
        report = transplant(source, target, quiet=True)
        assert report.left == (Entry("logits", "logits", "gives 3 channels, the source's 5"),)
        assert torch.equal(target.logits.weight, start["logits.weight"])
        assert len(report.copied) == len({name.rpartition(".")[0] for name in start}) - 1

    @pytest.mark.parametrize(
        ("name", "options"),
        [
            ("fcn8s_vgg16", {"width": WIDTH, "learn_upsampling": True}),
            ("gcn_resnet50", {"width": 1 / 16}),
            ("unet", {"width": 1 / 16}),
        ],
    )
    def test_the_same_classes_in_another_order(self, name, options):
        """Layers from classes to classes have them on both axes: deconvolutions, refinements."""
        source = stirred(build(name, num_classes=5, **options))
        target = stirred(build(name, num_classes=5, **options))
        order = [3, 0, 4, 1, 2]
        transplant(source, target, source_classes=VOC, target_classes=[VOC[place] for place in order], quiet=True)
        images = torch.randn(1, 3, 64, 64)
        same(target(images), source(images)[:, order])

    def test_new_classes_between_classes_stay_at_start(self):
        """A deconvolution (in, out, h, w): taps between two classes that both know, and no other."""
        source, target = net(up=nn.ConvTranspose2d(5, 5, 4)), net(up=nn.ConvTranspose2d(3, 3, 4))
        start = target["up"].weight.clone()
        transplant(source, target, source_classes=VOC, target_classes=["dog", "tree", "bird"], quiet=True)
        places = {0: 3, 2: 1}
        for i, o in itertools.product(range(3), repeat=2):
            known = i in places and o in places
            expected = source["up"].weight[places[i], places[o]] if known else start[i, o]
            assert torch.equal(target["up"].weight[i, o], expected)

    def test_a_file_tells_no_kinds(self):
        """Tensors by name are of the kind of the target's layer."""
        source, target = net(up=nn.ConvTranspose2d(2, 5, 4)), net(up=nn.ConvTranspose2d(2, 3, 4))
        transplant(source.state_dict(), target, source_classes=VOC, target_classes=["dog", "cat", "bird"], quiet=True)
        assert torch.equal(target["up"].weight, source["up"].weight[:, [3, 2, 1]])
        assert torch.equal(target["up"].bias, source["up"].bias[[3, 2, 1]])

    def test_one_deconvolution_a_class(self):
        layers = [net(up=nn.ConvTranspose2d(k, k, 4, groups=k)) for k in (5, 3)]
        transplant(
            layers[0].state_dict(), layers[1], source_classes=VOC, target_classes=["dog", "cat", "bird"], quiet=True
        )
        assert torch.equal(layers[1]["up"].weight, layers[0]["up"].weight[[3, 2, 1]])

    def test_a_classifier_of_named_classes_becomes_a_score_layer(self):
        """fc8 to a 1 × 1 convolution, which of its rows by their names; a norm of the scores with it."""
        source = net(fc=nn.Linear(6, 5), bn=nn.BatchNorm1d(5))
        target = net(fc=nn.Conv2d(6, 2, 1), bn=nn.BatchNorm2d(2))
        report = transplant(source, target, source_classes=VOC, target_classes=["cat", "bird"], quiet=True)
        assert torch.equal(target["fc"].weight[..., 0, 0], source["fc"].weight[[2, 1]])
        for name in ("weight", "bias", "running_mean", "running_var"):
            assert torch.equal(getattr(target["bn"], name), getattr(source["bn"], name)[[2, 1]])
        assert report.reshaped[0].how == "2 of 2 classes by name; 6 inputs as 6 × 1 × 1"

    def test_scores_on_thinned_out_features(self):
        source = stirred(nn.Sequential(nn.Conv2d(2, 8, 1), nn.Conv2d(8, 5, 1)))
        target = stirred(nn.Sequential(nn.Conv2d(2, 3, 1), nn.Conv2d(3, 2, 1)))
        assert transplant(
            source, target, decimate=True, source_classes=VOC, target_classes=["cat", "bird"], quiet=True
        ).complete
        assert torch.equal(target[0].weight, source[0].weight[[0, 4, 7]])
        assert torch.equal(target[1].weight, source[1].weight[[2, 1]][:, [0, 4, 7]])

    def test_the_same_classes_in_the_same_order_are_copied(self):
        source, target = net(fc=nn.Conv2d(5, 5, 1)), net(fc=nn.Conv2d(5, 5, 1))
        report = transplant(
            source, target, source_classes=VOC, target_classes=[name.upper() for name in VOC], quiet=True
        )
        assert paths(report.copied) == [("fc", "fc")]
        assert torch.equal(target["fc"].weight, source["fc"].weight)

    def test_no_class_in_common(self):
        source, target = (
            net(a=nn.Conv2d(3, 2, 1), fc=nn.Conv2d(2, 5, 1)),
            net(a=nn.Conv2d(3, 2, 1), fc=nn.Conv2d(2, 1, 1)),
        )
        report = transplant(source, target, source_classes=VOC, target_classes=["tree"], quiet=True)
        assert report.left == (Entry("fc", "fc", "no class of the source has one of its names"),)

    def test_many_missing_classes_are_not_all_listed(self):
        names = [f"c{number}" for number in range(12)]
        source, target = net(fc=nn.Conv2d(2, 5, 1)), net(fc=nn.Conv2d(2, 12, 1))
        report = transplant(source, target, source_classes=[*VOC[:4], "c0"], target_classes=names, quiet=True)
        assert report.reshaped[0].how == "1 of 12 classes by name, at start: c1, c2, c3, c4, c5, c6, c7, c8, …"

    def test_as_many_features_as_classes(self):
        """Which of the layers score cannot be told by their sizes: the caller must say."""
        classes = {"source_classes": VOC, "target_classes": VOC[::-1], "quiet": True}
        source = sequence(nn.Conv2d(3, 5, 1), nn.Conv2d(5, 5, 1), nn.Conv2d(5, 8, 1), nn.Conv2d(8, 5, 1))
        target = stirred(copy.deepcopy(source))
        start = copy_of(target)
        with pytest.raises(
            BadOption, match="3 layers give 5 channels, .* classes, and 2 makes other .* score_layers .*, of 0, 1, 3$"
        ):
            transplant(source, target, **classes)
        assert all(torch.equal(tensor, start[name]) for name, tensor in target.state_dict().items())
        report = transplant(source, target, score_layers=["3"], **classes)
        images = torch.randn(1, 3, 2, 2)
        same(target(images), source(images).flip(1))
        assert paths(report.reshaped) == [("3", "3")]

    def test_what_takes_scores_takes_them_by_name(self):
        """Dilation's context network reads scores: named, it gives the old scores in the new order."""
        source = stirred(build("dilation8", num_classes=5, width=1 / 16))
        target = stirred(build("dilation8", num_classes=5, width=1 / 16))
        layers = [name.rpartition(".")[0] for name, tensor in source.state_dict().items() if 5 in tensor.shape[:2]]
        transplant(
            source,
            target,
            source_classes=VOC,
            target_classes=VOC[::-1],
            score_layers=[*dict.fromkeys(layers)],
            quiet=True,
        )
        images = torch.randn(1, 3, 40, 40)
        same(target(images), source(images).flip(1))

    def test_features_as_many_as_classes_are_taken_as_they_are(self):
        """K inputs of a score layer are features, where no score layer stands before it."""
        source, target = (sequence(nn.Conv2d(3, 5, 1), nn.Conv2d(5, 5, 1), nn.Conv2d(5, 5, 1)) for _ in range(2))
        transplant(source, target, source_classes=VOC, target_classes=VOC[::-1], score_layers=["1", "2"], quiet=True)
        images = torch.randn(1, 3, 2, 2)
        same(target(images), source(images).flip(1))

    def test_as_many_features_as_classes_before_the_scores(self):
        """U-Net's last features are 4, as the classes: the scores change places, what they are made from stays."""
        names = VOC[:4]
        source, target = (stirred(build("unet", num_classes=4, width=1 / 16)) for _ in range(2))
        order = [2, 0, 3, 1]
        options = {"source_classes": names, "target_classes": [names[place] for place in order], "quiet": True}
        with pytest.raises(BadOption, match="layers give 4 channels, as many as there are classes, .* score_layers"):
            transplant(source, target, **options)
        report = transplant(source, target, score_layers=["score"], **options)
        assert source.score.weight.shape[:2] == (4, 4) and paths(report.reshaped) == [("score", "score")]
        assert torch.equal(target.score.weight, source.score.weight[order])
        images = torch.randn(1, 3, 32, 48)
        same(target(images), source(images)[:, order])

    def test_a_module_of_score_layers(self):
        source, target = (
            net(body=nn.Conv2d(3, 5, 1), head=nn.Sequential(nn.Conv2d(5, 7, 1), nn.Conv2d(7, 5, 1))) for _ in range(2)
        )
        transplant(source, target, source_classes=VOC, target_classes=VOC[::-1], score_layers=["head"], quiet=True)
        assert torch.equal(target["head"][1].weight, source["head"][1].weight.flip(0))
        assert torch.equal(target["head"][0].weight, source["head"][0].weight)
        assert torch.equal(target["body"].weight, source["body"].weight)

    def test_groups_of_classes_are_no_classes(self):
        source, target = (net(a=nn.Conv2d(3, 6, 1), fc=nn.Conv2d(6, k, 1, groups=2)) for k in (4, 2))
        report = transplant(source, target, source_classes=VOC[:4], target_classes=VOC[:2], quiet=True)
        assert report.left == (Entry("fc", "fc", "gives classes in 2 groups"),)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"source_classes": VOC}, "by name where both networks' are given; target_classes is missing"),
            ({"target_classes": VOC}, "by name where both networks' are given; source_classes is missing"),
            ({"source_classes": VOC, "target_classes": "cat"}, "target_classes must be a list of names, got 'cat'"),
            ({"source_classes": [], "target_classes": VOC}, r"source_classes must be a list of names, got \[\]"),
            ({"source_classes": ["a", " A"], "target_classes": VOC}, "source_classes names 'a' twice"),
            (
                {"source_classes": VOC[:2], "target_classes": VOC},
                "source_classes holds 2 names, but no layer of the source gives 2 channels",
            ),
            (
                {"source_classes": VOC, "target_classes": VOC[:2]},
                "target_classes holds 2 names, but no layer of the target gives 2 channels",
            ),
            ({"score_layers": "fc"}, "score_layers must be a list of paths, got 'fc'"),
            ({"match": "names"}, 'match must be "name" or "shape", got \'names\''),
            ({"new_channels": "zero"}, 'new_channels must be "mean", "copy" or "start", got \'zero\''),
        ],
    )
    def test_impossible_options(self, options, message):
        with pytest.raises(BadOption, match=message):
            transplant(net(fc=nn.Conv2d(3, 5, 1)), net(fc=nn.Conv2d(3, 5, 1)), quiet=True, **options)

    def test_a_misspelt_score_layer(self):
        with pytest.raises(UnknownName, match="no layer of the target is called 'score'; did you mean 'score1'"):
            transplant(net(score1=nn.Linear(2, 2)), net(score1=nn.Linear(2, 2)), score_layers=["score"], quiet=True)

    def test_score_layers_are_never_thinned_out(self):
        """Of 4 classes 2 would be a choice without sense, though the next layer takes as many."""
        source = sequence(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 4, 1), nn.Conv2d(4, 9, 1))
        target = sequence(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 2, 1), nn.Conv2d(2, 9, 1))
        assert not transplant(source, copy.deepcopy(target), decimate=True, quiet=True).left
        report = transplant(source, target, decimate=True, score_layers=["1"], quiet=True)
        assert [entry.target for entry in report.left] == ["1"]

    @pytest.mark.parametrize(
        "after",
        [
            lambda k: [],  # the last layer
            lambda k: [nn.ConvTranspose2d(k, k, 4)],  # upsampling
            lambda k: [nn.Conv2d(7, 1, 1)],  # another branch
            lambda k: [nn.Conv2d(3, 1, 1)],  # a branch that reads the picture
        ],
    )
    def test_fewer_outputs_are_other_classes_where_no_layer_goes_on(self, after):
        source = sequence(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 4, 1), *after(4))
        target = sequence(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 3, 1), *after(3))
        report = transplant(source, target, decimate=True, quiet=True)
        assert report.left[0] == Entry("1", "1", "gives 3 channels, the source's 4")


class TestPairs:
    def test_equal_names_come_before_equal_ends(self):
        source, target = (
            net(a=net(fc=nn.Linear(2, 2)), fc=nn.Linear(2, 2)),
            net(b=net(fc=nn.Linear(2, 2)), fc=nn.Linear(2, 2)),
        )
        report = transplant(source, target, quiet=True)
        assert set(paths(report.copied)) == {("fc", "fc"), ("b.fc", "a.fc")}

    def test_a_trunk_that_moved_moves_as_a_whole(self):
        """ResNet-like: `conv1` ends many paths; the stem does what most layers did, in a deeper network as well."""

        def unit():
            return net(conv1=nn.Conv2d(4, 4, 1), bn1=nn.BatchNorm2d(4))

        def trunk(units):
            return net(
                conv1=nn.Conv2d(4, 4, 1), bn1=nn.BatchNorm2d(4), layer1=sequence(*(unit() for _ in range(units)))
            )

        source, target = trunk(2), net(backbone=trunk(3))
        report = transplant(source, target, quiet=True)
        assert paths(report.copied) == [
            (f"backbone.{name}", name) for name in dict.fromkeys(key.rpartition(".")[0] for key in source.state_dict())
        ]
        assert [entry.target for entry in report.left] == ["backbone.layer1.2.conv1", "backbone.layer1.2.bn1"]
        for name, tensor in source.state_dict().items():
            assert torch.equal(tensor, target["backbone"].state_dict()[name])

    def test_of_equal_ways_the_longer_end_counts(self):
        source = net(a=net(x=net(conv=nn.Linear(2, 2))), b=net(conv=nn.Linear(2, 2)))
        target = net(p=net(x=net(conv=nn.Linear(2, 2))), q=net(conv=nn.Linear(2, 2)))
        report = transplant(source, target, quiet=True)
        assert paths(report.copied) == [("p.x.conv", "a.x.conv"), ("q.conv", "b.conv")]

    def test_what_moved_together_stays_together(self):
        """`w.s.p` has the longer end, but its neighbors went to `t`."""
        source = net(s=net(p=nn.Linear(2, 2), q=nn.Linear(2, 2)))
        target = net(t=net(p=nn.Linear(2, 2), q=nn.Linear(2, 2)), w=net(s=net(p=nn.Linear(2, 2))))
        report = transplant(source, target, quiet=True)
        assert paths(report.copied) == [("t.p", "s.p"), ("t.q", "s.q")]

    def test_where_two_could_be_meant_neither_is_copied(self):
        """Two towers, one source: which one, only the caller knows; both, by rename."""
        source = stirred(build("fcn32s_vgg16", num_classes=3, width=WIDTH))
        target = build("fcn32s_rgb_hha", num_classes=3, width=WIDTH)
        with pytest.raises(
            WeightsError,
            match=r"begins with backbone.conv1.conv1_1 \(weight 2 × 3 × 3 × 3, bias 2\), the target with "
            r"color.conv1.conv1_1 .*; color.conv1.conv1_1: backbone.conv1.conv1_1 of the source and others could be "
            r"meant; say which in rename; name the pairs",
        ):
            transplant(source, target, quiet=True)
        rename = {"color": "backbone", "hha": "backbone", "score_frcolor": "score_fr", "score_frhha": "score_fr"}
        assert transplant(source, target, rename=rename, quiet=True).complete
        images = torch.randn(1, 3, 20, 20)
        same(target.eval()(torch.cat([images, images], 1)), source(images))

    def test_two_of_the_source_for_one(self):
        source = net(a=net(fc=nn.Linear(2, 2)), b=net(fc=nn.Linear(2, 2)), other=nn.Linear(1, 1))
        target = net(c=net(fc=nn.Linear(2, 2)), other=nn.Linear(1, 1))
        start = target["c"]["fc"].weight.clone()
        report = transplant(source, target, quiet=True)
        assert [entry.target for entry in report.left] == ["c.fc"]
        assert paths(report.unused) == [("", "a.fc"), ("", "b.fc")]
        assert torch.equal(target["c"]["fc"].weight, start)

    def test_a_doubtful_layer_takes_no_third(self):
        ends = [net(x=net(fc=nn.Linear(2, 2))) for _ in range(3)]
        source, target = net(a=ends[0], b=ends[1], d=net(fc=nn.Linear(2, 2)), z=nn.Linear(1, 1)), net(c=ends[2])
        target["z"] = nn.Linear(1, 1)
        report = transplant(source, target, quiet=True)
        assert paths(report.copied) == [("z", "z")] and [entry.target for entry in report.left] == ["c.x.fc"]

    def test_numbers_are_no_names(self):
        """`features.0` and `head.0` have an end in common that says nothing."""
        source, target = (
            net(a=sequence(nn.Linear(2, 2)), x=nn.Linear(1, 1)),
            net(b=sequence(nn.Linear(2, 2)), x=nn.Linear(1, 1)),
        )
        assert [entry.target for entry in transplant(source, target, quiet=True).left] == ["b.0"]
        source, target = net(a=net(c=sequence(nn.Linear(2, 2)))), net(b=net(c=sequence(nn.Linear(2, 2))))
        assert paths(transplant(source, target, quiet=True).copied) == [("b.c.0", "a.c.0")]

    def test_rename_of_modules_and_layers(self):
        """The longest path counts; what the source lacks under a renamed module is paired by its name."""
        source = net(old=net(a=nn.Linear(2, 2), b=nn.Linear(2, 2)), c=nn.Linear(2, 2), z=nn.Linear(2, 2))
        target = net(new=net(a=nn.Linear(2, 2), b=nn.Linear(2, 2), c=nn.Linear(2, 2)), d=nn.Linear(2, 2))
        start = target["d"].weight.clone()
        report = transplant(source, target, rename={"new": "old", "new.b": "z", "d": None}, quiet=True)
        assert paths(report.copied) == [("new.a", "old.a"), ("new.b", "z"), ("new.c", "c")]
        assert torch.equal(target["new"]["b"].weight, source["z"].weight)
        assert report.left == (Entry("d", "", "kept, as rename says"),)
        assert torch.equal(target["d"].weight, start)

    def test_rename_of_the_network_itself(self):
        inner = net(a=nn.Linear(2, 2), b=nn.Linear(2, 2))
        assert paths(transplant(inner, copy.deepcopy(inner), rename={"": ""}, quiet=True).copied) == [
            ("a", "a"),
            ("b", "b"),
        ]
        outer = net(inner=copy.deepcopy(inner))
        assert paths(transplant(inner, outer, rename={"inner": ""}, quiet=True).copied) == [
            ("inner.a", "a"),
            ("inner.b", "b"),
        ]
        assert paths(transplant(outer, inner, rename={"": "inner"}, quiet=True).copied) == [
            ("a", "inner.a"),
            ("b", "inner.b"),
        ]

    @pytest.mark.parametrize(
        ("rename", "message"),
        [
            ({"scor": "score"}, "no layer of the target is called 'scor'; did you mean 'score'"),
            ({"score": "scores"}, "no layer of the source is called 'scores'; did you mean 'score'"),
            ({"score": None, "s": None}, "no layer of the target is called 's'"),
        ],
    )
    def test_a_misspelt_rename(self, rename, message):
        with pytest.raises(UnknownName, match=message):
            transplant(net(score=nn.Linear(2, 2)), net(score=nn.Linear(2, 2)), rename=rename, quiet=True)

    @given(st.lists(st.integers(1, 4), max_size=6), st.lists(st.integers(1, 4), min_size=1, max_size=6))
    @settings(max_examples=40, deadline=None, derandomize=True, database=None)
    def test_in_order_as_many_as_possible_are_paired(self, theirs, ours):
        """By brute force: the longest list of widths that both have in their order."""
        source = nn.ModuleDict({"s": nn.Sequential(*(nn.Linear(width, 7) for width in theirs))})
        target = nn.ModuleDict({"t": nn.Sequential(*(nn.Linear(width, 7) for width in ours))})
        longest = max(
            count
            for count in range(len(ours) + 1)
            if set(itertools.combinations(theirs, count)) & set(itertools.combinations(ours, count))
        )
        if not longest:
            with pytest.raises(WeightsError):
                transplant(source, target, match="shape", quiet=True)
            return
        report = transplant(source, target, match="shape", quiet=True)
        assert len(report.copied) == longest
        pairs = [(int(entry.target[2:]), int(entry.source[2:])) for entry in report.copied]
        for (i, j), (k, m) in itertools.pairwise(pairs):
            assert i < k and j < m
        for i, j in pairs:
            assert ours[i] == theirs[j] and torch.equal(target["t"][i].weight, source["s"][j].weight)

    def test_in_order_equal_shapes_count_more(self):
        """One pair or the other: that without change."""
        source = sequence(nn.Linear(2 * 9, 4), nn.Conv2d(2, 4, 3))
        target = net(t=sequence(nn.Conv2d(2, 4, 3)))
        report = transplant(source, target, match="shape", quiet=True)
        assert paths(report.copied) == [("t.0", "1")] and not report.reshaped

    def test_in_order_two_changed_layers_count_more_than_one_equal(self):
        source = sequence(nn.Linear(18, 4), nn.Linear(36, 4), nn.Conv2d(2, 4, 3))
        target = net(t=sequence(nn.Conv2d(2, 4, 3), nn.Conv2d(4, 4, 3)))
        report = transplant(source, target, match="shape", quiet=True)
        assert paths(report.reshaped) == [("t.0", "0"), ("t.1", "1")]

    def test_by_shape_words_that_fit_come_first(self):
        """A name that fits is believed; one that does not, and a number, are not."""
        source = net(fc=nn.Linear(2, 2), conv1=nn.Linear(9, 3), s=sequence(nn.Linear(3, 3), nn.Linear(4, 4)))
        target = net(conv1=nn.Linear(3, 3), t=nn.Linear(4, 4), s=sequence(nn.Linear(5, 5)), fc=nn.Linear(2, 2))
        report = transplant(source, target, match="shape", quiet=True)
        assert paths(report.copied) == [("conv1", "s.0"), ("t", "s.1"), ("fc", "fc")]
        assert paths(report.left) == [("s.0", "")]

    def test_by_shape_numbers_are_no_names(self):
        """`0` and `0` in networks of other depths."""
        source = sequence(nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 4))
        target = sequence(nn.Linear(5, 3), nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 4))
        report = transplant(source, target, match="shape", quiet=True)
        assert paths(report.copied) == [("1", "0"), ("2", "1"), ("3", "2")]

    def test_by_shape_only_the_first_convolution_gets_new_channels(self):
        """Not a later one of equal size between layers of equal sizes."""
        source = sequence(nn.Linear(3, 3), nn.Linear(3, 3), nn.Conv2d(1, 3, 1))
        target = sequence(nn.Linear(3, 3), nn.Conv2d(3, 3, 1), nn.Linear(3, 3), nn.Conv2d(3, 3, 1), nn.Linear(3, 9))
        report = transplant(source, target, match="shape", quiet=True)
        assert paths(report.copied) == [("0", "0"), ("2", "1")]
        assert paths(report.left) == [("1", ""), ("3", ""), ("4", "")]

    def test_by_shape_with_classes(self):
        """The score layer is found though its sizes differ."""
        source = net(s=sequence(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 5, 1)))
        target = net(t=sequence(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1)))
        report = transplant(
            source, target, match="shape", source_classes=VOC, target_classes=["cat", "bird"], quiet=True
        )
        assert paths(report.reshaped) == [("t.1", "s.1")] and paths(report.copied) == [("t.0", "s.0")]


class TestLayers:
    def test_statistics_belong_to_their_layer(self):
        source, target = net(bn=nn.BatchNorm2d(3)), net(bn=nn.BatchNorm2d(3))
        source["bn"].num_batches_tracked.fill_(7)
        report = transplant(source, target, quiet=True)
        assert all(torch.equal(tensor, target.state_dict()[name]) for name, tensor in source.state_dict().items())
        assert len(report.copied) == 1

    def test_statistics_of_thinned_out_filters(self):
        source = sequence(nn.Conv2d(2, 7, 1), nn.BatchNorm2d(7), nn.Conv2d(7, 2, 1))
        target = sequence(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3), nn.Conv2d(3, 2, 1))
        source[1].num_batches_tracked.fill_(7)
        assert transplant(source, target, decimate=True, quiet=True).complete
        for name in ("weight", "bias", "running_mean", "running_var"):
            assert torch.equal(getattr(target[1], name), getattr(source[1], name)[[0, 3, 6]])
        assert target[1].num_batches_tracked == 7

    def test_depthwise_filters_are_thinned_out_with_their_inputs(self):
        def layers(width):
            return sequence(nn.Conv2d(2, width, 1), nn.Conv2d(width, width, 3, groups=width), nn.Conv2d(width, 2, 1))

        source, target = layers(7), layers(3)
        assert transplant(source, target, decimate=True, quiet=True).complete
        assert torch.equal(target[1].weight, source[1].weight[[0, 3, 6]])

    @pytest.mark.parametrize(("groups", "count"), [((2, 2), 8), ((1, 2), 4)])
    def test_other_groups_are_not_thinned_out(self, groups, count):
        source = sequence(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1, groups=groups[0]), nn.Conv2d(8, 2, 1))
        target = sequence(nn.Conv2d(3, 8, 1), nn.Conv2d(8, count, 1, groups=groups[1]), nn.Conv2d(count, 2, 1))
        if count == 8:
            target = sequence(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1, groups=2), nn.Conv2d(4, 2, 1))
        report = transplant(source, target, decimate=True, quiet=True)
        assert [entry.target for entry in report.left] == ["1"]

    @pytest.mark.parametrize(
        ("theirs", "ours"), [((8, 2), (4, 1)), ((4, 1), (8, 2)), ((8, 2), (16, 4)), ((4, 1), (4, 4))]
    )
    @pytest.mark.parametrize("kind", [nn.Conv2d, nn.ConvTranspose2d])
    def test_filters_of_other_groups_see_other_channels(self, kind, theirs, ours):
        """Weights of one size: 8 channels in two groups are not 4 in one."""
        source, target = (
            net(a=nn.Linear(2, 2), conv=kind(channels, 16, 3, groups=groups)) for channels, groups in (theirs, ours)
        )
        start = copy_of(target)
        report = transplant(source, target, decimate=True, quiet=True)
        assert report.left == (Entry("conv", "conv", f"has {ours[1]} groups, the source's {theirs[1]}"),)
        assert torch.equal(target["conv"].weight, start["conv.weight"])

    def test_grouped_filters_are_no_fully_connected_layer(self):
        source, target = (
            net(a=nn.Linear(2, 2), fc=nn.Conv2d(4, 6, 3, groups=2)),
            net(a=nn.Linear(2, 2), fc=nn.Linear(18, 6)),
        )
        assert transplant(source, target, quiet=True).left == (Entry("fc", "fc", "has 1 groups, the source's 2"),)

    def test_groups_of_a_file_are_the_targets(self):
        source, target = (net(conv=nn.Conv2d(8, 8, 3, groups=2)) for _ in range(2))
        assert paths(transplant(source.state_dict(), target, quiet=True).copied) == [("conv", "conv")]

    def test_a_window_has_the_channels_before_it(self):
        """36 inputs of 4 × 3 × 3 cells are not 9 × 2 × 2, in either direction."""
        flat = net(conv=nn.Conv2d(3, 4, 3), fc=nn.Linear(36, 6), out=nn.Linear(6, 2))
        other = net(conv=nn.Conv2d(3, 9, 3), fc=nn.Conv2d(9, 6, 2), out=nn.Linear(6, 2))
        for source, target, whose in ((flat, other, "the source's"), (other, flat, "its")):
            start = target["fc"].weight.clone()
            report = transplant(source, target, quiet=True)
            assert paths(report.copied) == [("out", "out")]
            assert report.left[1] == Entry("fc", "fc", f"{whose} 36 inputs are cells of 4 channels, not of 9")
            assert torch.equal(target["fc"].weight, start)
        fitting = net(conv=nn.Conv2d(3, 4, 3), fc=nn.Conv2d(4, 6, 3), out=nn.Linear(6, 2))
        assert transplant(flat, fitting, quiet=True).reshaped == (Entry("fc", "fc", "36 inputs as 4 × 3 × 3"),)

    def test_a_layer_that_only_stands_before_says_nothing_of_the_window(self):
        """An auxiliary head of 5 scores is written between the trunk and the layer that reads the trunk."""
        source = sequence(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 1), nn.Linear(36, 6))
        target = sequence(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 1), nn.Conv2d(4, 6, 3))
        assert transplant(source, target, quiet=True).complete

    def test_grouped_inputs_are_not_thinned_out(self):
        source, target = (
            sequence(nn.Conv2d(3, c, 1), nn.Conv2d(c, 4, 1, groups=2), nn.Conv2d(4, 2, 1)) for c in (8, 4)
        )
        report = transplant(source, target, decimate=True, quiet=True)
        assert report.left == (Entry("1", "1", "takes 2 channels, the source's 4"),)

    def test_fully_connected_layers_are_thinned_out(self):
        """Of a flattened (3, 3, 3) map to (2, 2, 2): channels of the convolution before, and cells."""
        source = sequence(nn.Conv2d(1, 3, 1), nn.Flatten(), nn.Linear(27, 5), nn.Linear(5, 2))
        target = sequence(nn.Conv2d(1, 2, 1), nn.Flatten(), nn.Linear(8, 3), nn.Linear(3, 2))
        assert transplant(source, target, decimate=True, quiet=True).complete
        for (i, o), (c, d), (row, y), (column, x) in itertools.product(
            enumerate([0, 2, 4]), enumerate([0, 2]), enumerate([0, 2]), enumerate([0, 2])
        ):
            assert target[2].weight[i, c * 4 + row * 2 + column] == source[2].weight[o, d * 9 + y * 3 + x]
        assert torch.equal(target[3].weight, source[3].weight[:, [0, 2, 4]])

    def test_a_window_that_is_no_square_is_not_thinned_out(self):
        source = sequence(nn.Conv2d(1, 3, 1), nn.Flatten(), nn.Linear(18, 5), nn.Linear(5, 2))
        target = sequence(nn.Conv2d(1, 3, 1), nn.Flatten(), nn.Linear(12, 5), nn.Linear(5, 2))
        report = transplant(source, target, decimate=True, quiet=True)
        assert report.left == (Entry("2", "2", "takes 12 inputs, the source's 18"),)

    def test_fewer_inputs_than_wanted(self):
        source, target = net(a=nn.Linear(2, 2), fc=nn.Conv2d(4, 4, 3)), net(a=nn.Linear(2, 2), fc=nn.Conv2d(4, 4, 5))
        report = transplant(source, target, decimate=True, quiet=True)
        assert report.left == (Entry("fc", "fc", "has 5 × 5 taps, the source's 3 × 3"),)

    def test_a_flat_layer_alone_takes_the_channels_of_the_other(self):
        """No layer stands before it in the file: the window is (channels of the target's, 5 × 5)."""
        weight = torch.randn(4, 2 * 25)
        target = net(fc=nn.Conv2d(2, 4, 3, bias=False))
        transplant({"fc.weight": weight}, target, decimate=True, quiet=True)
        assert torch.equal(target["fc"].weight, weight.reshape(4, 2, 5, 5)[:, :, ::2, ::2])

    def test_a_convolution_is_no_deconvolution(self):
        source, target = (
            net(a=nn.Linear(2, 2), up=nn.Conv2d(3, 3, 2)),
            net(a=nn.Linear(2, 2), up=nn.ConvTranspose2d(3, 3, 2)),
        )
        report = transplant(source, target, quiet=True)
        assert report.left == (Entry("up", "up", "the source's is Conv2d, this ConvTranspose2d"),)
        source["up"] = nn.Linear(12, 3)
        report = transplant(source, target, quiet=True)
        assert [entry.target for entry in report.left] == ["up"]

    def test_a_bias_that_one_lacks(self):
        for bias in (False, True):
            source, target = net(fc=nn.Linear(2, 2, bias=bias)), net(fc=nn.Linear(2, 2, bias=not bias))
            report = transplant(source, target, quiet=True)
            assert (
                report.copied[0].how
                == f"same shape; {'the source' + chr(39) + 's bias unused' if bias else 'bias at start'}"
            )
            assert torch.equal(source["fc"].weight, target["fc"].weight)

    def test_other_tensors_must_be_equal_in_size(self):
        source, target = net(a=nn.Linear(2, 2), b=nn.BatchNorm1d(3)), net(a=nn.Linear(2, 2), b=nn.PReLU(4))
        assert transplant(source, target, quiet=True).left[0].how == "gives 4 channels, the source's 3"
        table = {"a.weight": torch.zeros(2, 2), "a.bias": torch.zeros(2), "b.table": torch.zeros(3)}
        target["b"] = nn.Module()
        target["b"].register_buffer("table", torch.ones(4))
        assert transplant(table, target, quiet=True).left == (Entry("b", "b", "table holds 4, the source's 3"),)
        table["b.table"] = torch.tensor(1.0)
        assert transplant(table, target, quiet=True).left[0].how == "table holds 4, the source's one number"
        target["b"] = nn.Linear(2, 2)
        assert transplant(table, target, quiet=True).left[0].how == "the source's holds table, this weight, bias"

    def test_a_bias_of_another_size_than_its_rows(self):
        """A file whose bias does not belong to its weight is left, not cut."""
        table = {"a.weight": torch.zeros(2, 2), "fc.weight": torch.zeros(5, 2), "fc.bias": torch.zeros(6)}
        target = net(a=nn.Linear(2, 2), fc=nn.Linear(2, 2))
        report = transplant(table, target, source_classes=VOC, target_classes=VOC[:2], quiet=True)
        assert report.left == (Entry("fc", "fc", "bias holds 2, the source's 6"),)
        table["fc.bias"] = torch.zeros(5, 1)
        report = transplant(table, target, source_classes=VOC, target_classes=VOC[:2], quiet=True)
        assert report.left == (Entry("fc", "fc", "bias holds 2, the source's 5 × 1"),)

    def test_a_norm_over_maps_is_no_first_convolution(self):
        """LayerNorm's weight has three axes; it takes no colors."""
        source = net(norm=nn.LayerNorm((3, 2, 2)), conv=nn.Conv2d(3, 2, 1))
        target = net(norm=nn.LayerNorm((3, 2, 2)), conv=nn.Conv2d(3, 2, 1))
        report = transplant(source, target, reverse_channels=True, quiet=True)
        assert paths(report.reshaped) == [("conv", "conv")] and paths(report.copied) == [("norm", "norm")]

    def test_the_target_keeps_gradients_types_and_identity(self):
        source, target = net(fc=nn.Linear(4, 2)), net(fc=nn.Conv2d(1, 2, 2)).double()
        target["fc"].weight.requires_grad_(False)
        kept = dict(target.named_parameters())
        transplant(source, target, quiet=True)
        assert target["fc"].weight is kept["fc.weight"] and target["fc"].weight.dtype == torch.float64
        assert not target["fc"].weight.requires_grad and target["fc"].bias.requires_grad
        assert target["fc"].weight.grad_fn is None
        assert torch.equal(target["fc"].weight.flatten(1).float(), source["fc"].weight)
        assert source["fc"].weight.requires_grad and source["fc"].weight.data_ptr() != target["fc"].weight.data_ptr()

    def test_classes_go_to_another_type_too(self):
        source, target = net(fc=nn.Linear(4, 2)), net(fc=nn.Conv2d(4, 2, 1)).double()
        transplant(source, target, source_classes=["a", "b"], target_classes=["b", "c"], quiet=True)
        assert torch.equal(target["fc"].weight[0, :, 0, 0].float(), source["fc"].weight[1])
        assert target["fc"].bias[0] == source["fc"].bias[1] and target["fc"].bias.dtype == torch.float64


class TestSources:
    @pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", ""])
    def test_wrapped_networks(self, prefix):
        """Names as DataParallel and torch.compile save them."""
        source, target = net(a=nn.Linear(2, 2), b=nn.Linear(2, 2)), net(a=nn.Linear(2, 2), b=nn.Linear(2, 2))
        report = transplant({prefix + name: tensor for name, tensor in source.state_dict().items()}, target, quiet=True)
        assert paths(report.copied) == [("a", "a"), ("b", "b")]
        assert torch.equal(target["b"].weight, source["b"].weight)

    def test_a_module_called_module_is_no_wrapper(self):
        source = net(module=nn.Linear(2, 2), b=nn.Linear(2, 2))
        assert paths(transplant(source, copy.deepcopy(source), quiet=True).copied) == [("module", "module"), ("b", "b")]

    def test_a_wrapped_single_layer(self):
        layer = stirred(nn.Linear(2, 2))
        report = transplant({"module.weight": layer.weight, "module.bias": layer.bias}, nn.Linear(2, 2), quiet=True)
        assert paths(report.copied) == [("", "")]

    def test_a_wrapped_target_knows_its_layers(self):
        source = net(up=nn.ConvTranspose2d(2, 5, 4))
        target = nn.Module()
        target.module = net(up=nn.ConvTranspose2d(2, 3, 4))
        transplant(source, target, source_classes=VOC, target_classes=VOC[:3], quiet=True)
        assert torch.equal(target.module["up"].weight, source["up"].weight[:, :3])

    def test_state_that_is_no_tensor_belongs_to_no_layer(self):
        class Noted(nn.Linear):
            def get_extra_state(self):
                return {"note": 1}

            def set_extra_state(self, state):
                raise AssertionError

        source, target = (nn.ModuleDict({"fc": Noted(2, 2)}) for _ in range(2))
        assert transplant(source, target, quiet=True).copied == (Entry("fc", "fc", "same shape"),)

    @pytest.mark.parametrize(
        ("source", "message"),
        [
            ({"epoch": 3, "state_dict": {}}, "source holds int under 'epoch'; pass the mapping of names to tensors"),
            ("vgg.pth", "source must be a network or tensors by name, got str"),
        ],
    )
    def test_what_is_no_network(self, source, message):
        with pytest.raises(BadOption, match=message):
            transplant(source, nn.Linear(2, 2), quiet=True)

    def test_nothing_fits(self):
        target = net(b=nn.Linear(3, 2))
        start = copy_of(target)
        message = (
            r"begins with a \(weight 2 × 2, bias 2\), the target with b \(weight 2 × 3, bias 2\); "
            r'b: the source has no such layer; name the pairs in rename, or try match="shape"$'
        )
        with pytest.raises(WeightsError, match=message):
            transplant(net(a=nn.Linear(2, 2)), target, quiet=True)
        with pytest.raises(WeightsError, match="no such layer; name the pairs in rename$"):
            transplant(net(a=nn.Linear(2, 2)), target, match="shape", quiet=True)
        with pytest.raises(WeightsError, match=r"the network itself \(weight 2 × 2, bias 2\)"):
            transplant(nn.Linear(2, 2), target, quiet=True)
        assert all(torch.equal(tensor, start[name]) for name, tensor in target.state_dict().items())

    def test_no_weights(self):
        with pytest.raises(WeightsError, match="nothing to copy: the source has no weights"):
            transplant({}, nn.Linear(2, 2), quiet=True)
        with pytest.raises(WeightsError, match="nothing to copy: the target has no weights"):
            transplant(nn.Linear(2, 2), nn.ReLU(), quiet=True)

    def test_numbers_that_are_nowhere(self):
        with pytest.raises(BadOption, match="the source is on the meta device and has no numbers"):
            transplant(nn.Linear(2, 2, device="meta"), nn.Linear(2, 2), quiet=True)
        with pytest.raises(BadOption, match="the target is on the meta device and has no numbers"):
            transplant(nn.Linear(2, 2), nn.Linear(2, 2, device="meta"), quiet=True)


class TestReport:
    def test_every_layer_is_told_and_printed(self, capsys):
        source = net(a=nn.Linear(2, 2), b=nn.Linear(2, 2), c=nn.Linear(8, 3), d=nn.Linear(2, 5), old=nn.Linear(1, 1))
        target = net(a=nn.Linear(2, 2), b=nn.Linear(2, 2), c=nn.Conv2d(2, 3, 2), d=nn.Linear(2, 3), new=nn.Linear(3, 3))
        report = transplant(source, target)
        assert report == Transplant(
            copied=(Entry("a", "a", "same shape"), Entry("b", "b", "same shape")),
            reshaped=(Entry("c", "c", "8 inputs as 2 × 2 × 2"),),
            left=(
                Entry("d", "d", "gives 3 channels, the source's 5"),
                Entry("new", "", "the source has no such layer"),
            ),
            unused=(Entry("", "old", "no layer of the target was paired with it"),),
        )
        expected = [
            "2 copied, 1 reshaped, 2 left at start, 1 unused",
            "copied         a … b (2 layers)  same shape",
            "reshaped       c                 8 inputs as 2 × 2 × 2",
            "left at start  d                 gives 3 channels, the source's 5",
            "left at start  new               the source has no such layer",
            "unused         old               no layer of the target was paired with it",
        ]
        assert str(report).splitlines() == expected
        assert capsys.readouterr().out.splitlines() == expected

    def test_quiet_prints_nothing(self, capsys):
        transplant(nn.Linear(2, 2), nn.Linear(2, 2), quiet=True)
        assert capsys.readouterr().out == ""

    def test_moved_neighbors_share_a_line(self):
        source = net(a=nn.Linear(2, 2), b=nn.Linear(2, 2))
        text = str(transplant(source, net(trunk=copy.deepcopy(source)), quiet=True))
        assert "trunk.a … trunk.b ← a … b (2 layers)  same shape" in text
        assert "trunk.a ← a  same shape" in str(
            transplant(
                {"a.weight": source["a"].weight, "a.bias": source["a"].bias},
                net(trunk=net(a=nn.Linear(2, 2))),
                quiet=True,
            )
        )

    def test_long_names_do_not_widen_the_table(self):
        entry = Entry("x" * 70, "", "short"), Entry("y", "", "other")
        lines = str(Transplant((), (), entry, ())).splitlines()
        assert lines[1:] == [f"left at start  {'x' * 70}  short", "left at start  y  other"]

    def test_nothing_to_tell(self):
        assert str(Transplant((), (), (), ())) == "0 copied, 0 reshaped, 0 left at start, 0 unused"


class TestDecimate:
    @given(st.integers(1, 40), st.data())
    @settings(max_examples=40, deadline=None, derandomize=True, database=None)
    def test_places_are_evenly_spaced(self, many, data):
        """The nearest to equal steps from the first to the last; of one, the first."""
        few = data.draw(st.integers(1, many))
        kept = decimate(torch.arange(float(many)).reshape(many, 1), taps=(), filters=few)[:, 0].tolist()
        assert len(set(kept)) == few and kept[0] == 0
        for place, where in enumerate(kept):
            assert abs(where * (few - 1) - place * (many - 1)) <= (few - 1) / 2
        assert few == 1 or kept[-1] == many - 1

    def test_axes_are_apart(self):
        weight = torch.randn(5, 4, 3, 7)
        found = decimate(weight, taps=(2, 3), filters=5, inputs=2)
        assert torch.equal(found, weight[:, [0, 3]][:, :, [0, 2]][..., [0, 3, 6]])

    def test_what_belongs_together_is_kept(self):
        """fc6 of 7 × 7 and 16 filters to 4 × 4 and 4 filters; fc7 keeps the same 4, as inputs and as filters."""
        fc6, fc7 = torch.randn(16, 5, 7, 7), torch.randn(16, 16, 1, 1)
        small6, small7 = decimate(fc6, taps=4, filters=4), decimate(fc7, taps=1, filters=4, inputs=4)
        kept = [0, 5, 10, 15]
        for i, o in enumerate(kept):
            assert torch.equal(small6[i], fc6[o][:, ::2, ::2])
            assert torch.equal(small7[i], fc7[o][kept])

    @pytest.mark.parametrize(
        "options",
        [
            {"taps": 4, "filters": 2},
            {"taps": 3, "filters": 3},
            {"taps": 3, "filters": 2, "inputs": 3},
            {"taps": 0, "filters": 2},
            {"taps": (3,), "filters": 2},
        ],
    )
    def test_it_only_reduces(self, options):
        with pytest.raises(ShapeError, match="of 2 × 2 × 3 × 3 .* wanted"):
            decimate(torch.zeros(2, 2, 3, 3), **options)
