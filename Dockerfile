# docker build -t v-diffusion . && docker run --rm -v "$PWD:/images" v-diffusion cfg_sample "a cat" --model emoji
FROM python:3.12-slim
# What pip is to be told of torch: for a CPU the index that PyTorch's own instructions name, 4 GB less.
ARG TORCH=""
RUN pip install --no-cache-dir $TORCH torch torchvision
COPY . /suite
RUN pip install --no-cache-dir /suite
WORKDIR /images
CMD ["cfg_sample", "--help"]
