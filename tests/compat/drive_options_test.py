#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""-drive in all its spellings: accepted, refused and shown by query-block as by QEMU.

usage: drive_options_test.py PROGRAM [QEMU]       (TAP; skips without QEMU 7.2)
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile

# After "if=none,id=d,".
OPTIONS = [
    'file=a.qcow2,format=qcow2,throttling.bps-total=1000000',
    'file=a.qcow2,throttling.bps-total=1000,throttling.bps-total-max=2000,'
    'throttling.bps-total-max-length=3',
    'file=a.qcow2,throttling.iops-total=10,throttling.iops-size=4096',
    'file=a.qcow2,throttling.bps-total=10,throttling.iops-size=4096',
    'file=a.qcow2,bps=1000000,iops=100,iops_max=200,iops_size=512',
    'file=a.qcow2,bps_rd=1000,bps_wr=2000,bps_rd_max=3000,bps_wr_max=4000,group=g0',
    'file=a.qcow2,iops_rd=10,iops_wr=20,iops_rd_max=30,iops_wr_max=40,group=g0',
    'file=a.qcow2,iops-total=10',
    'file=a.qcow2,throttling.group=gg,throttling.iops-total=10',
    'file=a.raw,format=raw,bps=100,bps_rd=50',
    'file=a.raw,format=raw,bps=-1',
    'file=a.raw,format=raw,bps_max=100',
    'file=a.raw,format=raw,bps=10,throttling.bps-total=10',
    'file.filename=a.qcow2,format=qcow2',
    'file.driver=file,file.filename=a.qcow2,driver=qcow2',
    'file.driver=file,file.filename=a.qcow2,file.locking=off,file.aio=threads,driver=qcow2',
    'driver=qcow2,file.driver=raw,file.file.driver=file,file.file.filename=a.qcow2',
    'file=a.qcow2,format=qcow2,driver=qcow2',
    'file=a.qcow2,copy-on-read=on',
    'file=a.qcow2,copy-on-read=on,readonly=on',
    'file=a.qcow2,copy-on-read=maybe',
    'file=a.qcow2,detect-zeroes=on,discard=unmap',
    'file=a.qcow2,detect-zeroes=unmap,discard=on',
    'file=a.qcow2,detect-zeroes=bogus',
    'file=a.qcow2,discard=off',
    'file=a.qcow2,discard=ignore',
    'file=a.qcow2,discard=bogus',
    'file=a.qcow2,cache=none',
    'file=a.qcow2,cache=writethrough,aio=io_uring',
    'file=a.qcow2,cache=directsync,aio=native',
    'file=a.qcow2,aio=native',
    'file=a.qcow2,aio=bogus',
    'file=a.qcow2,cache.direct=on,cache.no-flush=on,cache.writeback=off',
    'file=a.qcow2,cache=unsafe,cache.direct=on',
    'file=a.qcow2,cache=bogus',
    'file=a.raw,format=raw,cache=none,cache.writeback=maybe',
    'file=a.qcow2,werror=stop,rerror=report',
    'file=a.qcow2,werror=enospc,rerror=ignore',
    'file=a.qcow2,werror=bogus',
    'file=a.qcow2,rerror=enospc',
    'file=a.qcow2,media=cdrom',
    'file=a.qcow2,media=bogus',
    'file=a.qcow2,auto-read-only=on',
    'file=a.qcow2,read-only=on',
    'file=a.qcow2,readonly=on,read-only=off',
    'file=a.qcow2,read-only=maybe',
    'file=a.qcow2,node-name=nn',
    'file=a.qcow2,node-name=0nn',
    'file=a.qcow2,stats-intervals.0=60,stats-intervals.1=3600',
    'file=a.qcow2,stats-account-invalid=off,stats-account-failed=off',
    'file=a.qcow2,l2-cache-size=1M,cache-clean-interval=900,lazy-refcounts=on',
    'file=a.qcow2,cache-size=2M,refcount-cache-size=256k',
    'file=a.qcow2,cache-size=2M,refcount-cache-size=4M',
    'file=a.qcow2,cache-size=2M,refcount-cache-size=1M,l2-cache-size=1M',
    'file=a.qcow2,l2-cache-entry-size=512',
    'file=a.qcow2,l2-cache-entry-size=64k',
    'file=a.qcow2,l2-cache-entry-size=4097',
    'file=a.qcow2,l2-cache-entry-size=128k',
    'file=a.qcow2,pass-discard-request=on,pass-discard-snapshot=off,pass-discard-other=on',
    'file=a.qcow2,pass-discard-request=maybe',
    'file=a.qcow2,overlap-check=none',
    'file=a.qcow2,overlap-check=all,overlap-check.inactive-l2=off',
    'file=a.qcow2,overlap-check.template=constant,overlap-check.active-l2=on',
    'file=a.qcow2,overlap-check=some',
    'file=a.qcow2,overlap-check=all,overlap-check.template=none',
    'file=a.qcow2,overlap-check.main-header=maybe',
    'file=a.qcow2,overlap-check.bogus=on',
    'file=a.qcow2,encrypt.format=luks',
    'file=a.raw,format=raw,offset=1M,size=2M',
    'file=a.raw,format=raw,size=2G',
    'file=a.raw,format=raw,offset=1',
    'file=a.raw,format=raw,force-share=on',
    'file=a.raw,format=raw,force-share=on,readonly=on',
    'file=a.raw,format=raw,locking=off',
    'file=a.raw,format=raw,file.locking=off',
    'file=a.raw,format=raw,file.bogus=4',
    'file=a.raw,format=bogus',
    'file=a.raw,format=raw,bogus=1',
    'file=a.raw,format=raw,serial=x',
    'file=missing.raw',
    'file=',
    '',
    'driver=null-co,size=1G',
    'driver=null-co,size=1G,read-zeroes=on,latency-ns=1000',
    'driver=throttle,throttle-group=tg,file.driver=null-co',
    'driver=throttle,throttle-group=missing,file.driver=null-co',
    'file=json:{"driver":"qcow2",,"file":{"driver":"file",,"filename":"a.qcow2"}}',
    'file=json:{"driver":"qcow2",,"file":{"driver":"file",,"filename":"a.qcow2"}',
    'file=json:{"driver":"raw",,"size":"512",,"file":{"driver":"file",,"filename":"a.raw"}}',
    'file=json:[]',
    'file=over.qcow2,format=qcow2',
    'file=over.qcow2,backing=,format=qcow2',
]

# What tells of the machine it was made on, or of how filters are counted as chains.
VOLATILE = ('node-name', 'actual-size', 'backing-image', 'backing_file_depth', 'dirty-flag')


def ask(program, options, folder):
    """(status, what query-block says)"""
    p = subprocess.run(
        [program, '-M', 'none', '-nodefaults', '-display', 'none', '-S', '-qmp', 'stdio',
         '-object', 'throttle-group,id=tg', '-drive', 'if=none,id=d,' + options],
        input='{"execute":"qmp_capabilities"}{"execute":"query-block"}{"execute":"quit"}',
        capture_output=True, text=True, timeout=120, cwd=folder)
    answers = [json.loads(line) for line in p.stdout.splitlines() if line.startswith('{')]
    blocks = [a['return'] for a in answers if isinstance(a.get('return'), list)]
    return p.returncode, tidy(blocks[0] if blocks else None)


def tidy(value):
    if isinstance(value, dict):
        return {k: tidy(v) for k, v in value.items() if k not in VOLATILE}
    if isinstance(value, list):
        return [tidy(v) for v in value]
    if isinstance(value, str) and value.startswith('json:'):
        return tidy(json.loads(value[5:]))       # the order of keys is nobody's business
    return value


def main():
    program = os.path.abspath(sys.argv[1])
    qemu = sys.argv[2] if len(sys.argv) > 2 else shutil.which('qemu-system-x86_64')
    img = shutil.which('qemu-img')
    if not qemu or not img or ' 7.2' not in subprocess.run(
            [qemu, '--version'], capture_output=True, text=True).stdout:
        print('1..0 # SKIP no QEMU 7.2 with its tools to compare with')
        return 0
    failed = 0
    with tempfile.TemporaryDirectory(prefix='rhea-drive-') as folder:
        for args in (['qcow2', 'a.qcow2', '64M'], ['raw', 'a.raw', '64M'],
                     ['qcow2', '-b', 'a.raw', '-F', 'raw', 'over.qcow2']):
            subprocess.run([img, 'create', '-q', '-f', *args], check=True, cwd=folder)
        for n, options in enumerate(OPTIONS, 1):
            theirs, ours = ask(qemu, options, folder), ask(program, options, folder)
            ok = theirs == ours
            failed += not ok
            print(f'{"ok" if ok else "not ok"} {n} - {options or "(nothing)"}'.replace('#', r'\#'))
            if not ok:
                print(f'# QEMU: {theirs}\n# here: {ours}')
    print(f'1..{len(OPTIONS)}')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
