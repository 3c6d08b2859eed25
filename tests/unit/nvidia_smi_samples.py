"""What `nvidia-smi` prints on nodes of several kinds, made from a few words.

The elements, their order and their wording are those of real reports by nvsmi_device_v12.dtd (L4 with driver 555, A100 with 535,
RTX 5090 with 575), cut down to what is read and what stands beside it; the H100's, H200's and B200's numbers are put in. The lines of
`nvidia-smi nvlink -s` are as an 8×H200 prints them.
"""

from typing import Any

H100, H200, B200 = ("NVIDIA H100 80GB HBM3", 81559), ("NVIDIA H200", 143771), ("NVIDIA B200", 183359)
A100, L40S = ("NVIDIA A100-SXM4-80GB", 81920), ("NVIDIA L40S", 46068)
H100_PCIE, H100_NVL = ("NVIDIA H100 PCIe", 81559), ("NVIDIA H100 NVL", 95830)


def gpu(kind: tuple[str, int] = H100, **said: Any) -> str:
    """One GPU, well; `said` changes single words."""
    words = {
        "state": "Completed",
        "status": "Success",
        "sram_parity": 0,
        "sram_secded": 0,
        "dram": 0,
        "worn": "No",
        "pending": "No",
        "failure": "No",
        "recovery": "None",
        "reset": "No",
        "width": "16x",
        "thermal": "Not Active",
        "brake": "Not Active",
        "used": 1,
        "mig": "Disabled",
        "ecc": "Enabled",
        "bus": "00000000:19:00.0",
    } | said
    return f"""
    <gpu id="00000000:19:00.0">
        <product_name>{kind[0]}</product_name>
        <product_brand>NVIDIA</product_brand>
        <mig_mode><current_mig>{words["mig"]}</current_mig><pending_mig>Disabled</pending_mig></mig_mode>
        <uuid>GPU-00000000-0000-0000-0000-000000000000</uuid>
        <gpu_reset_status>
            <reset_required>{words["reset"]}</reset_required>
            <drain_and_reset_recommended>N/A</drain_and_reset_recommended>
        </gpu_reset_status>
        <gpu_recovery_action>{words["recovery"]}</gpu_recovery_action>
        <pci>
            <pci_bus_id>{words["bus"]}</pci_bus_id>
            <pci_gpu_link_info>
                <pcie_gen><max_link_gen>5</max_link_gen><current_link_gen>5</current_link_gen></pcie_gen>
                <link_widths>
                    <max_link_width>16x</max_link_width>
                    <current_link_width>{words["width"]}</current_link_width>
                </link_widths>
            </pci_gpu_link_info>
        </pci>
        <clocks_event_reasons>
            <clocks_event_reason_gpu_idle>Active</clocks_event_reason_gpu_idle>
            <clocks_event_reason_hw_slowdown>Not Active</clocks_event_reason_hw_slowdown>
            <clocks_event_reason_hw_thermal_slowdown>{words["thermal"]}</clocks_event_reason_hw_thermal_slowdown>
            <clocks_event_reason_hw_power_brake_slowdown>{words["brake"]}</clocks_event_reason_hw_power_brake_slowdown>
        </clocks_event_reasons>
        <fb_memory_usage>
            <total>{kind[1]} MiB</total>
            <reserved>551 MiB</reserved>
            <used>{words["used"]} MiB</used>
        </fb_memory_usage>
        <ecc_mode><current_ecc>{words["ecc"]}</current_ecc><pending_ecc>Enabled</pending_ecc></ecc_mode>
        <ecc_errors>
            <volatile>
                <sram_correctable>7</sram_correctable>
                <sram_uncorrectable_parity>{words["sram_parity"]}</sram_uncorrectable_parity>
                <sram_uncorrectable_secded>{words["sram_secded"]}</sram_uncorrectable_secded>
                <dram_correctable>9</dram_correctable>
                <dram_uncorrectable>{words["dram"]}</dram_uncorrectable>
            </volatile>
            <aggregate>
                <sram_correctable>7</sram_correctable>
                <dram_uncorrectable>3</dram_uncorrectable>
                <sram_threshold_exceeded>{words["worn"]}</sram_threshold_exceeded>
            </aggregate>
        </ecc_errors>
        <remapped_rows>
            <remapped_row_corr>0</remapped_row_corr>
            <remapped_row_unc>1</remapped_row_unc>
            <remapped_row_pending>{words["pending"]}</remapped_row_pending>
            <remapped_row_failure>{words["failure"]}</remapped_row_failure>
        </remapped_rows>
        <fabric>
            <state>{words["state"]}</state>
            <status>{words["status"]}</status>
            <cliqueId>0</cliqueId>
            <clusterUuid>00000000-0000-0000-0000-000000000000</clusterUuid>
            <health><bandwidth>N/A</bandwidth></health>
        </fabric>
    </gpu>"""


def report(*gpus: str, driver: str = "580.65.06", cuda: str = "13.0") -> str:
    """The whole of `nvidia-smi -q -x`."""
    return f"""<?xml version="1.0" ?>
<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v12.dtd">
<nvidia_smi_log>
    <timestamp>Mon Jul 15 13:41:56 2024</timestamp>
    <driver_version>{driver}</driver_version>
    <cuda_version>{cuda}</cuda_version>
    <attached_gpus>{len(gpus)}</attached_gpus>{"".join(gpus)}
</nvidia_smi_log>
"""


def dgx(kind: tuple[str, int] = H100) -> str:
    """Eight GPUs, all well."""
    return report(*[gpu(kind)] * 8)


def nvlinks(*gpus: list[str]) -> str:
    """The whole of `nvidia-smi nvlink -s`: what is behind each link of each GPU."""
    return "".join(
        f"GPU {index}: NVIDIA H200 (UUID: GPU-9e8682f0-0d01-e118-3a86-008e972bfe2a)\n"
        + "".join(f"\t Link {number}: {rate}\n" for number, rate in enumerate(rates))
        for index, rates in enumerate(gpus)
    )
