"""The page's style: the system's own letters, light or dark as the reader's system is, and on paper
always black on white with nothing cut off."""

from lab.report.charts.colours import STYLE

_LIGHT = "--ink:#1E293B;--soft:#475569;--ground:#FFFFFF;--page:#F1F5F9;--grid:#CBD5E1;--bad:#A40000"
_DARK = "--ink:#E2E8F0;--soft:#A9B6C8;--ground:#0F172A;--page:#080D19;--grid:#334155;--bad:#FF9C9C"

PAGE_STYLE = f"""
:root{{color-scheme:light dark;{_LIGHT}}}
@media screen and (prefers-color-scheme:dark){{:root{{{_DARK}}}}}
*{{box-sizing:border-box}}
body{{margin:0;background:var(--page);color:var(--ink);font:16px/1.5 system-ui,sans-serif}}
header,main,footer{{max-width:60rem;margin:auto;padding:0 1.25rem;background:var(--ground)}}
header,main{{display:flow-root}}header{{padding-top:1.5rem}}footer{{padding-bottom:2rem;color:var(--soft)}}
h1{{font-size:1.7rem;line-height:1.2;margin:0 0 .25rem}}
h2{{font-size:1.2rem;margin:2.2rem 0 .5rem;padding-top:.6rem;border-top:1px solid var(--grid)}}
h3{{font-size:1rem;margin:1.4rem 0 .3rem}}
p{{max-width:44rem;margin:.5rem 0}}
ul{{max-width:44rem;margin:.3rem 0;padding-left:1.2rem}}
.soft,figcaption small{{color:var(--soft)}}
.bad{{color:var(--bad);font-weight:700}}
.strong{{font-weight:600}}
.question{{border-left:4px solid var(--soft);padding-left:1rem;font-size:1.05rem}}
.invalid{{border:3px solid var(--bad);padding:.5rem 1rem}}
figure{{margin:1.4rem 0}}
figcaption{{font-weight:600;margin-bottom:.3rem}}
.scroll{{overflow-x:auto;max-width:100%}}
.scroll:focus-visible{{outline:2px solid var(--soft);outline-offset:2px}}
.scroll .lab-chart{{display:block;min-width:40rem;width:100%}}
table{{border-collapse:collapse;font-size:.9rem;margin:.8rem 0;font-variant-numeric:tabular-nums}}
caption{{text-align:left;font-weight:600;padding-bottom:.3rem;white-space:nowrap}}
th,td{{padding:.15rem .55rem;text-align:left;vertical-align:top}}
th{{font-weight:600}}tbody th{{font-weight:400}}
thead tr:last-child th{{border-bottom:1px solid var(--soft)}}
td.n,th.n{{text-align:right;white-space:nowrap}}
.first{{border-left:1px solid var(--grid)}}
tr.end>*{{border-bottom:1px solid var(--grid)}}
dl.claims{{margin:.5rem 0}}dl.claims>dt{{margin-top:1rem}}dl.claims>dd{{margin:.4rem 0 0 1.2rem}}
.figures{{color:var(--soft);font-size:.9rem;overflow-wrap:anywhere}}
@media print{{
@page{{margin:16mm}}
:root{{color-scheme:light;{_LIGHT};--page:#FFFFFF}}
body{{font-size:10pt}}header,main,footer{{max-width:none;padding:0}}
figure,tr,dd,.invalid,.question{{break-inside:avoid}}h2,h3,figcaption,caption{{break-after:avoid}}
.scroll{{overflow:visible}}.scroll .lab-chart{{min-width:0;max-height:22cm}}
table{{font-size:7.5pt}}th,td{{padding:.1rem .25rem}}th.n{{white-space:normal}}
}}
{STYLE}
"""
