"""The models in PyTorch, with the names that wgen's files have: `load_state_dict(strict=True)` takes them."""
import torch
import torch.nn as nn
import torch.nn.functional as F


def dense(widths, between, end=None):
    layers = []
    for i, (a, b) in enumerate(zip(widths, widths[1:])):
        layers.append(nn.Linear(a, b))
        last = i == len(widths) - 2
        if not last:
            layers.append(between())
        elif end is not None:
            layers.append(end())
    return nn.Sequential(*layers)


class Autoencoder(nn.Module):
    """Hinton & Salakhutdinov's sizes by default, relu, sigmoid at the end."""

    def __init__(self, widths=(784, 1000, 500, 250, 30)):
        super().__init__()
        self.encoder = dense(widths, nn.ReLU)
        self.decoder = dense(widths[::-1], nn.ReLU, nn.Sigmoid)

    def forward(self, x):
        return self.decoder(self.encoder(x))


def halving_encoder(image, more, channels):
    layers, inputs = [], image[0] + more
    for outputs in channels:
        layers += [nn.Conv2d(inputs, outputs, 4, 2, 1), nn.ReLU()]
        inputs = outputs
    return layers


def halving_decoder(inputs, image, channels):
    height, width = image[1] >> len(channels), image[2] >> len(channels)
    inner = (channels[-1], height, width)
    layers = [nn.Linear(inputs, channels[-1] * height * width), nn.ReLU(), nn.Unflatten(1, inner)]
    for i in reversed(range(len(channels))):
        layers.append(nn.ConvTranspose2d(channels[i], image[0] if i == 0 else channels[i - 1], 4, 2, 1))
        if i > 0:
            layers.append(nn.ReLU())
    return layers, channels[-1] * height * width


class ConvAutoencoder(nn.Module):
    """Images are (channels, height, width)."""

    def __init__(self, image, channels, latent):
        super().__init__()
        decoder, inner = halving_decoder(latent, image, channels)
        self.encoder = nn.Sequential(*halving_encoder(image, 0, channels), nn.Flatten(), nn.Linear(inner, latent))
        self.decoder = nn.Sequential(*decoder, nn.Sigmoid())

    def forward(self, x):
        return self.decoder(self.encoder(x))


class Vae(nn.Module):
    """pytorch/examples/vae; z is mu + exp(logvar / 2) eps."""

    def __init__(self, width=784, hidden=400, latent=20):
        super().__init__()
        self.fc1, self.fc21, self.fc22 = nn.Linear(width, hidden), nn.Linear(hidden, latent), nn.Linear(hidden, latent)
        self.fc3, self.fc4 = nn.Linear(latent, hidden), nn.Linear(hidden, width)

    def encode(self, x):
        h = F.relu(self.fc1(x))
        return self.fc21(h), self.fc22(h)

    def decode(self, z):
        return self.fc4(F.relu(self.fc3(z)))


class ConvVae(nn.Module):
    """Convolutional, conditional where classes is above 0."""

    def __init__(self, image, channels, latent, classes=0):
        super().__init__()
        decoder, inner = halving_decoder(latent + classes, image, channels)
        self.encoder = nn.Sequential(*halving_encoder(image, classes, channels), nn.Flatten())
        self.fc21, self.fc22 = nn.Linear(inner, latent), nn.Linear(inner, latent)
        self.decoder = nn.Sequential(*decoder)

    def encode(self, x, c=None):
        if c is not None:
            x = torch.cat([x, c[:, :, None, None].expand(-1, -1, *x.shape[2:])], 1)
        h = self.encoder(x)
        return self.fc21(h), self.fc22(h)

    def decode(self, z, c=None):
        return self.decoder(z if c is None else torch.cat([z, c], 1))


def doublings(side):
    for first in (4, 7):
        for times in range(1, 7):
            if first << times == side:
                return first, times
    raise ValueError(side)


class Generator(nn.Module):
    """pytorch/examples/dcgan at 64x64; by the same pattern at 4 or 7 pixels doubled. At 28x28: transposed 7-1-0, then 4-2-1 twice."""

    def __init__(self, side=64, latent=100, channels=64, image_channels=1, classes=0):
        super().__init__()
        first, times = doublings(side)
        width = channels << (times - 1)
        layers = [nn.ConvTranspose2d(latent + classes, width, first, 1, 0, bias=False), nn.BatchNorm2d(width), nn.ReLU(True)]
        for _ in range(times - 1):
            layers += [nn.ConvTranspose2d(width, width // 2, 4, 2, 1, bias=False), nn.BatchNorm2d(width // 2), nn.ReLU(True)]
            width //= 2
        layers += [nn.ConvTranspose2d(width, image_channels, 4, 2, 1, bias=False), nn.Tanh()]
        self.main = nn.Sequential(*layers)

    def forward(self, z):
        return self.main(z[:, :, None, None])


class Discriminator(nn.Module):
    """Its mirror image; logits, the sigmoid being in the loss."""

    def __init__(self, side=64, channels=64, image_channels=1, classes=0):
        super().__init__()
        first, times = doublings(side)
        layers, width = [nn.Conv2d(image_channels + classes, channels, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, True)], channels
        for _ in range(times - 1):
            layers += [nn.Conv2d(width, width * 2, 4, 2, 1, bias=False), nn.BatchNorm2d(width * 2), nn.LeakyReLU(0.2, True)]
            width *= 2
        layers.append(nn.Conv2d(width, 1, first, 1, 0, bias=False))
        self.main = nn.Sequential(*layers)

    def forward(self, x):
        return self.main(x).reshape(-1)


class Dcgan(nn.Module):
    """Both, as model.safetensors has them; generator.safetensors and discriminator.safetensors are for each alone."""

    def __init__(self, side, latent=100, channels=64, image_channels=1):
        super().__init__()
        self.discriminator = Discriminator(side, channels, image_channels)
        self.generator = Generator(side, latent, channels, image_channels)


class Classifier(nn.Module):
    """pytorch/examples/mnist, dropout by masks that are given."""

    def __init__(self, image=(1, 28, 28), channels=(32, 64), features=128, classes=10):
        super().__init__()
        self.conv1 = nn.Conv2d(image[0], channels[0], 3, 1)
        self.conv2 = nn.Conv2d(channels[0], channels[1], 3, 1)
        inner = channels[1] * ((image[1] - 4) // 2) * ((image[2] - 4) // 2)
        self.fc1, self.fc2 = nn.Linear(inner, features), nn.Linear(features, classes)

    def forward(self, x, masks=(1.0, 1.0)):
        """Features and logits of pixels in [0, 1]."""
        x = (x - 0.1307) / 0.3081
        x = F.max_pool2d(F.relu(self.conv2(F.relu(self.conv1(x)))), 2) * masks[0]
        features = F.relu(self.fc1(torch.flatten(x, 1)))
        return features, self.fc2(features * masks[1])


class Sparse(nn.Module):
    """One layer in, one out, the decoder's columns of length 1; the code by `sparsity`."""

    def __init__(self, width, latent, gain):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(width, latent), nn.Linear(latent, width)
        if gain:
            self.gain = nn.Parameter(torch.ones(latent))

    def decode(self, code):
        filters = self.decoder.weight / torch.sqrt(self.decoder.weight.square().sum(0) + 1e-12)
        gain = self.gain if hasattr(self, "gain") else 1.0
        return F.linear(code * gain, filters, self.decoder.bias)


class Contractive(nn.Module):
    """Tied weights, sigmoid everywhere."""

    def __init__(self, widths):
        super().__init__()
        self.encoder = nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths, widths[1:]))
        self.decoder = nn.ModuleList(nn.Module() for _ in self.encoder)
        for layer, width in zip(self.decoder, widths):
            layer.register_parameter("bias", nn.Parameter(torch.zeros(width)))

    def encode(self, x):
        for layer in self.encoder:
            x = torch.sigmoid(layer(x))
        return x

    def decode(self, h):
        for layer, back in reversed(list(zip(self.encoder, self.decoder))):
            h = torch.sigmoid(F.linear(h, layer.weight.t(), back.bias))
        return h

    def squared_norms(self, x):
        """|J|_F^2 of each example, column by column of J through autograd."""
        x = x.detach().requires_grad_()
        h = self.encode(x)
        norms = 0
        for j in range(h.shape[1]):
            norms = norms + torch.autograd.grad(h[:, j].sum(), x, create_graph=True)[0].square().sum(1)
        return norms
