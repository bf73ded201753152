"""PyTorch as a peer, on the CPU or with --cuda [--graph] on a GPU: answers case names on stdin with milliseconds a repetition."""
import os
import sys
import time

import torch
import torch.nn.functional as F

DEVICE = "cuda" if "--cuda" in sys.argv else "cpu"
GRAPH = "--graph" in sys.argv
BATCH, ROWS = 128, 12800
if DEVICE == "cuda":
    # f32 as everybody else computes it.
    torch.backends.cuda.matmul.allow_tf32 = False


class VAE(torch.nn.Module):
    """pytorch/examples/vae."""

    def __init__(self):
        super().__init__()
        self.fc1, self.fc21, self.fc22 = torch.nn.Linear(784, 400), torch.nn.Linear(400, 20), torch.nn.Linear(400, 20)
        self.fc3, self.fc4 = torch.nn.Linear(20, 400), torch.nn.Linear(400, 784)

    def forward(self, x):
        h = F.relu(self.fc1(x))
        mu, logvar = self.fc21(h), self.fc22(h)
        std = torch.exp(0.5 * logvar)
        z = mu + torch.randn_like(std) * std
        return torch.sigmoid(self.fc4(F.relu(self.fc3(z)))), mu, logvar


def loss_of(model, x):
    y, mu, logvar = model(x)
    return F.binary_cross_entropy(y, x, reduction="sum") - 0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())


def vae_step():
    model = VAE().to(DEVICE)
    data = torch.rand(ROWS, 784, device=DEVICE)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, capturable=GRAPH)
    if not GRAPH:
        count = iter(range(1 << 60))

        def step():
            i = next(count) % (ROWS // BATCH)
            optimizer.zero_grad()
            loss_of(model, data[i * BATCH:(i + 1) * BATCH]).backward()
            optimizer.step()
        return step
    static = data[:BATCH].clone()
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        for _ in range(3):
            optimizer.zero_grad(set_to_none=True)
            loss_of(model, static).backward()
            optimizer.step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    optimizer.zero_grad(set_to_none=True)
    with torch.cuda.graph(graph):
        loss_of(model, static).backward()
        optimizer.step()
    count = iter(range(1 << 60))

    def step():
        i = next(count) % (ROWS // BATCH)
        static.copy_(data[i * BATCH:(i + 1) * BATCH])
        graph.replay()
    return step


def dcgan_step():
    """pytorch/examples/dcgan's step at 28x28, 64 channels, batch 32."""
    sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "scripts"))
    from pytorch_models import Dcgan
    batch = 32
    net = Dcgan(28).to(DEVICE)
    data = torch.rand(ROWS, 1, 28, 28, device=DEVICE) * 2 - 1
    real, fake = torch.ones(batch, device=DEVICE), torch.zeros(batch, device=DEVICE)
    adam = lambda net: torch.optim.Adam(net.parameters(), lr=2e-4, betas=(0.5, 0.999))
    generator, discriminator = adam(net.generator), adam(net.discriminator)
    loss = F.binary_cross_entropy_with_logits
    count = iter(range(1 << 60))

    def step():
        i = next(count) % (ROWS // batch)
        discriminator.zero_grad()
        (loss(net.discriminator(data[i * batch:(i + 1) * batch]), real)
         + loss(net.discriminator(net.generator(torch.randn(batch, 100, device=DEVICE)).detach()), fake)).backward()
        discriminator.step()
        generator.zero_grad()
        loss(net.discriminator(net.generator(torch.randn(batch, 100, device=DEVICE))), real).backward()
        generator.step()
    return step


def diffusion(sampling):
    """A training step or a DDIM step of the U-Net of wgen's diffusion::Config::mnist in diffusers, batch 16."""
    from diffusers import DDIMScheduler, DDPMScheduler, UNet2DModel
    batch = 16
    unet = UNet2DModel(sample_size=28, in_channels=1, out_channels=1, block_out_channels=(32, 32, 64), layers_per_block=1,
                       down_block_types=["DownBlock2D"] * 3, up_block_types=["UpBlock2D"] * 3, norm_num_groups=8,
                       attention_head_dim=32, num_class_embeds=11).to(DEVICE)
    labels = torch.arange(batch, device=DEVICE) % 10
    if sampling:
        unet.eval()
        scheduler = DDIMScheduler()
        scheduler.set_timesteps(50)
        x, t = torch.randn(batch, 1, 28, 28, device=DEVICE), scheduler.timesteps[20].to(DEVICE)

        def step():
            with torch.inference_mode():
                return scheduler.step(unet(x, t, class_labels=labels).sample, t, x).prev_sample
        return step
    data = torch.rand(ROWS, 1, 28, 28, device=DEVICE) * 2 - 1
    scheduler, optimizer = DDPMScheduler(), torch.optim.Adam(unet.parameters(), lr=1e-3)
    count = iter(range(1 << 60))

    def step():
        i = next(count) % (ROWS // batch)
        x0 = data[i * batch:(i + 1) * batch]
        t, noise = torch.randint(0, 1000, (batch,), device=DEVICE), torch.randn_like(x0)
        loss = F.mse_loss(unet(scheduler.add_noise(x0, noise, t), t, class_labels=labels).sample, noise)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    return step


def prepare(name):
    numbers = [int(w) for w in name.split("_") if w.isdigit()]
    rand = lambda *shape: torch.rand(*shape, device=DEVICE)
    if name.startswith("matmul"):
        m, n, k = numbers
        layout = name.split("_")[1]
        a, b = rand(*((k, m) if layout == "tn" else (m, k))), rand(*((n, k) if layout == "nt" else (k, n)))
        a, b = (a.t() if layout == "tn" else a), (b.t() if layout == "nt" else b)
        return lambda: a @ b
    if name.startswith("add"):
        x, y = rand(numbers[0]), rand(numbers[0])
        return lambda: x + y
    if name.startswith("chain"):
        x, y = rand(numbers[0]), rand(numbers[0])
        return lambda: torch.sigmoid(x) * y + x
    if name.startswith("row_sums"):
        x = rand(*numbers)
        return lambda: x.sum(1)
    if name.startswith("column_sums"):
        x = rand(*numbers)
        return lambda: x.sum(0)
    if name.startswith("conv"):
        # PyTorch's own layout.
        side, product = numbers[0], name.split("_")[1]
        x, w, g = rand(16, 64, side, side), rand(64, 64, 3, 3), rand(16, 64, side, side)
        if product == "forward":
            return lambda: F.conv2d(x, w, None, 1, 1)
        mask = [product == "input", product == "weight", False]
        return lambda: torch.ops.aten.convolution_backward(g, x, w, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, mask)
    if name == "dcgan_step":
        return dcgan_step()
    if name.startswith("diffusion"):
        return diffusion(name == "diffusion_sample")
    if name == "vae_step":
        return vae_step()
    return None


def wait():
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def main():
    where = torch.cuda.get_device_name() if DEVICE == "cuda" else f"cpu, {torch.get_num_threads()} threads"
    print(f"PyTorch {torch.__version__} {'CUDA graph' if GRAPH else 'eager'} on {where}", flush=True)
    cases = {}
    for line in sys.stdin:
        name = line.strip()
        if name not in cases:
            run = prepare(name)
            if run is None:
                cases[name] = None
            else:
                for _ in range(3):
                    run()
                wait()
                begin = time.perf_counter()
                for _ in range(3):
                    run()
                wait()
                cases[name] = run, min(500, max(1, int(0.08 / ((time.perf_counter() - begin) / 3))))
        if cases[name] is None:
            print("-", flush=True)
            continue
        run, times = cases[name]
        begin = time.perf_counter()
        for _ in range(times):
            run()
        wait()
        print(f"{(time.perf_counter() - begin) * 1e3 / times:.6f}", flush=True)


main()
