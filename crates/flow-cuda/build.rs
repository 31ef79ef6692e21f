//! Compiles the C++ here, which needs the C++ compiler that tch needs, too, and no header of libtorch or CUDA.

fn main() {
    let files =
        ["src/adam.cpp", "src/exact.cpp", "src/graph.cpp", "src/kernels/kernels.cpp", "src/kernels/emulated.cpp"];
    let kernels = ["adam.cu", "coupling.cu", "emulated.hpp", "mixing.cu", "products.cu", "spline.cu", "sums.cuh"];
    let read = kernels.map(|file| format!("src/kernels/{file}"));
    for file in files.iter().copied().chain(read.iter().map(String::as_str)) {
        println!("cargo:rerun-if-changed={file}");
    }
    // Kernels have hints for another compiler.
    let mut build = cc::Build::new();
    build.cpp(true).std("c++17").flag_if_supported("-Wno-unknown-pragmas").files(files).compile("flow_cuda");
}
